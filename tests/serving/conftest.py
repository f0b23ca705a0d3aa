"""Exports to serve, each made once."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from pipelines.snapshots.opening import Snapshot
from tests.exporting import export, settings_for
from tests.hostile import insert_hostile
from tests.integration.kit import run_sql
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import create_source_tables, fill_source
from tests.serving.kit import Served, served

BIG_DOMAINS, LARGE_DOMAINS = 100_000, 40_000
# Three candidates a row and texts of usual lengths: about 200 MB as JSON for 100,000.
_BATCHES = """
INSERT INTO domains (id, domain, status, batch_id, company_name, recommendation, created_at)
SELECT i, 'company-' || i || '.example.com', 'success', CASE WHEN i <= {rows} THEN 'big' ELSE 'small' END,
       'Company number ' || i || ' Holdings plc', repeat('Strong name match. ', 5), '2026-01-02 03:04:05'
FROM generate_series(1, {rows} + 10) AS i;
INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name, entity_status, jurisdiction, rank_position)
SELECT 3 * i + r, i, lpad((3 * i + r)::text, 20, '0'), 'Legal entity ' || i || ' of rank ' || r, 'ACTIVE', 'DE', r
FROM generate_series(1, {rows} + 10) AS i, generate_series(1, 3) AS r
"""


@dataclass(frozen=True)
class Source:
    """A database, and the snapshot that was exported from it."""

    database: Database
    snapshot: Snapshot

    @property
    def export_dir(self) -> Path:
        return self.snapshot.folder.parents[1]


@pytest.fixture(scope="package")
def hostile(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    with cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            insert_hostile(connection)
        yield Source(database, export(settings_for(database, tmp_path_factory.mktemp("exports"))))


@pytest.fixture(scope="package")
def hostile_server(hostile: Source) -> Iterator[Served]:
    with served(hostile.export_dir) as server:
        yield server


@pytest.fixture(scope="package")
def big(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """A batch `big` of 100,000 domains, and one `small` of ten."""
    with _two_batches(cluster, tmp_path_factory.mktemp("exports"), BIG_DOMAINS) as source:
        yield source


@pytest.fixture(scope="package")
def large(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Source]:
    """A batch `big` of 40,000 domains, where it need not be larger, and one `small` of ten."""
    with _two_batches(cluster, tmp_path_factory.mktemp("exports"), LARGE_DOMAINS) as source:
        yield source


@contextmanager
def _two_batches(cluster: Cluster, folder: Path, rows: int) -> Iterator[Source]:
    with cluster.new_database() as database:
        fill_source(database)
        run_sql(database, *_BATCHES.format(rows=rows).split(";"))
        yield Source(database, export(settings_for(database, folder)))
