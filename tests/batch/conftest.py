"""Exports of the sample, the shared real data and the hostile rows, each made once."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pipelines.sample.csv_files import SAMPLE_DIR
from pipelines.snapshots.opening import Snapshot
from tests.batch.kit import Cells, cells_in_postgres
from tests.exporting import export, settings_for
from tests.hostile import insert_hostile
from tests.oracle.postgres import Cluster
from tests.oracle.source import create_source_tables, insert_source, load_csv_dir


@dataclass(frozen=True)
class Exported:
    """A snapshot, and the cells of its batches by PostgreSQL."""

    snapshot: Snapshot
    cells: dict[str, Cells]


class Exports:
    """Makes an export of a set of data when it is first asked for."""

    def __init__(self, cluster: Cluster, folder: Path, stack: ExitStack) -> None:
        self._cluster, self._folder, self._stack = cluster, folder, stack
        self._made: dict[str, Exported] = {}

    def of(self, name: str, fill: Callable[[psycopg.Connection[Any]], object], **settings: Any) -> Exported:
        if name not in self._made:
            database = self._stack.enter_context(self._cluster.new_database())
            with database.connect() as connection:
                create_source_tables(connection)
                fill(connection)
                connection.commit()
                snapshot = export(settings_for(database, self._folder / name, **settings))
                self._made[name] = Exported(snapshot, cells_in_postgres(connection))
        return self._made[name]


@pytest.fixture(scope="package")
def exports(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exports]:
    with ExitStack() as stack:
        yield Exports(cluster, tmp_path_factory.mktemp("exports"), stack)


@pytest.fixture
def sample(exports: Exports) -> Exported:
    return exports.of("sample", lambda connection: load_csv_dir(connection, SAMPLE_DIR))


@pytest.fixture
def hostile(exports: Exports) -> Exported:
    return exports.of("hostile", insert_hostile, include_full_data=True, segment_size=1000)


@pytest.fixture
def real(exports: Exports, shared_data: Path) -> Exported:
    return exports.of("real", lambda connection: load_csv_dir(connection, shared_data), segment_size=1000)


@pytest.fixture(params=["sample", "real", pytest.param("hostile", marks=pytest.mark.standard)])
def exported(request: pytest.FixtureRequest) -> Exported:
    """Each set of data in turn."""
    found: Exported = request.getfixturevalue(request.param)
    return found


AWKWARD = [
    ("13250000000000000107", "NA", "30"),
    ("300300E1000862000093", "NO", '=HYPERLINK("http://x")'),
    ("00000000000000000098", "NULL", "+1"),
    ("12345678901234567890", "TRUE", "-1"),
    ("HWUPKR0MPOU8FGXBT394", "1e5", "@cmd"),
    ("097900CAKA0000007347", "2025-01-01", "360 HOLDINGS LLC; 360 HOLDINGS SERIES LLC"),
]  # fmt: skip


def _fill_awkward(connection: psycopg.Connection[Any]) -> None:
    domains = [
        {
            "id": number,
            "domain": f"a{number}.example",
            "status": "success",
            "batch_id": batch_id,
            "primary_lei_code": code,
            "guessed_country": country,
            "company_name": name,
            "retry_count": 0,
            "level2_candidates_count": -1,
            "confidence_score": "85.3",
            "created_at": "2025-06-24 03:01:05.390999",
        }
        for number, (batch_id, (code, country, name)) in enumerate(
            [(batch_id, row) for batch_id in AWKWARD_IDS for row in AWKWARD]
        )
    ]
    candidates = [
        {
            "id": 100 * int(row["id"]) + rank,
            "domain_id": row["id"],
            "lei_code": code,
            "legal_name": name,
            "jurisdiction": country,
            "rank_position": rank,
            "weighted_score": "85.3",
        }
        for row in domains
        for rank, (code, country, name) in enumerate(AWKWARD)
    ]
    insert_source(connection, domains, candidates)


AWKWARD_IDS = [
    "-kP3xWq9TzYbN_4mLs7Rd",
    "--out",
    "-",
    "a/b",
    "../../etc/passwd",
    "/absolute",
    "with space",
    "[bold]x[/nope]",
    "a=b",
    "--a=b",
]


@pytest.fixture
def awkward(exports: Exports) -> Exported:
    """Codes and countries that look like something else, in batches whose ids look like something else."""
    return exports.of("awkward", _fill_awkward)
