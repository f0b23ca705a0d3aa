"""What makes a run slow, counted instead of timed: scans, bytes from PostgreSQL, rows through each stage, memory."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from bench.floor import copied_bytes
from bench.generate import fill
from bench.measure import measure
from pipelines.contracts.records import Manifest
from tests.guard.kit import CountingRelay, Scans, forget_scans, passes
from tests.oracle.postgres import Cluster, Database

pytestmark = [pytest.mark.integration, pytest.mark.standard]

SEGMENTS = 10
# At 20,000 and 40,000 rows the peak differs from run to run by 50 MiB, more than a fault takes that keeps what was read
# (1.6 KiB a row): memory is looked at where it shows.
FEW_ROWS, MANY_ROWS = 20_000, 100_000
MESSAGES_BYTES = 300_000  # catalogue, locks, progress and fingerprints
MAX_BYTES = 760 * 2**20
# In a process of its own, for the memory's sake; it prints the last message of each stage and what was published.
RUN = """
import json
from pipelines.export import run_export
from pipelines.settings import load_settings
steps = {}
published = run_export(load_settings(), on_progress=lambda step: steps.update({f"{step.stage} {step.what}": step.done}))
print(json.dumps([steps, published and published.manifest.model_dump_json()]))
"""


@dataclass
class Run:
    """A run, and what it cost."""

    manifest: Manifest | None
    progress: dict[str, int]
    received: int
    scans: Scans
    peak_bytes: int

    def segments_built(self) -> list[int]:
        """Rows that were built after each segment."""
        return [done for step, done in self.progress.items() if step.startswith("build segment")]


@dataclass
class Load:
    """A filled database behind a relay, and a folder of exports."""

    database: Database
    relay: CountingRelay
    folder: Path
    rows: int
    candidates: int

    @property
    def segment_size(self) -> int:
        return self.rows // SEGMENTS

    def run(self) -> Run:
        forget_scans(self.database)
        self.relay.take_received()
        environment = {
            "DATABASE_URL": self.relay.database.url,
            "EXPORT_DIR": str(self.folder),
            "SEGMENT_SIZE": str(self.segment_size),
            "READ_CONNECTIONS": "2",
        }
        measured, said = measure([sys.executable, "-c", RUN], environment)
        progress, published = json.loads(said)
        manifest = Manifest.model_validate_json(published) if published else None
        peak = measured.peak_shared_bytes or measured.peak_bytes  # the first is Linux's
        return Run(manifest, progress, self.relay.take_received(), passes(self.database), peak)


with_many_rows = pytest.mark.parametrize("load", [pytest.param(MANY_ROWS, marks=pytest.mark.extended)], indirect=True)


@pytest.fixture(
    scope="module",
    params=[FEW_ROWS, pytest.param(MANY_ROWS, marks=pytest.mark.extended)],
    ids=lambda rows: f"{rows} rows",
)
def load(request: pytest.FixtureRequest, cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Load]:
    with cluster.new_database() as database, CountingRelay(database) as relay:
        _, candidates = fill(database.url, request.param, random_order=True)
        with database.connect(autocommit=True) as connection:
            for table in ("domains", "gleif_candidates"):  # autovacuum reads too
                connection.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = off)".encode())
        yield Load(database, relay, tmp_path_factory.mktemp("guard") / "exports", request.param, candidates)


@pytest.fixture(scope="module")
def floor(load: Load) -> int:
    return copied_bytes(load.database.url)


@pytest.fixture(scope="module")
def full(load: Load, floor: int) -> Run:
    return load.run()


@pytest.fixture(scope="module")
def unchanged(load: Load, full: Run) -> Run:
    return load.run()


@pytest.fixture(scope="module")
def one_segment(load: Load, unchanged: Run) -> Run:
    with psycopg.connect(load.database.url, autocommit=True) as connection:
        within = (2 * load.segment_size + 1, 2 * load.segment_size + load.segment_size // 20)
        connection.execute("UPDATE domains SET retry_count = 1 WHERE id BETWEEN %s AND %s", within)
    return load.run()


@pytest.fixture(scope="module")
def all_candidates(load: Load, one_segment: Run) -> Run:
    with psycopg.connect(load.database.url, autocommit=True) as connection:
        connection.execute("UPDATE gleif_candidates SET legal_name = legal_name || ' Ltd', jurisdiction = 'DE'")
    return load.run()


def rows_of(manifest: Manifest | None) -> dict[str, int]:
    assert manifest is not None
    return {table.name: table.rows for table in manifest.tables}


def test_a_full_run_reads_each_table_once_and_fingerprints_it_once(full: Run) -> None:
    # The least and the greatest id come from an index.
    assert full.scans.domains == pytest.approx(2, abs=0.001)
    assert full.scans.gleif_candidates == pytest.approx(2, abs=0.001)


def test_a_full_run_fetches_little_more_than_the_floor(load: Load, full: Run, floor: int) -> None:
    headers = 5 * (load.rows + load.candidates)  # a message a row
    ids = 4 * (load.rows + 2 * load.candidates)  # int4 in these tables, read as int8
    hashes = (4 + 8) * (load.rows + load.candidates)
    assert floor + hashes <= full.received <= floor + headers + ids + hashes + MESSAGES_BYTES


def test_every_row_goes_through_each_stage_once(load: Load, full: Run) -> None:
    everything = load.rows + load.candidates
    assert max(done for step, done in full.progress.items() if step.startswith("read")) == everything
    assert full.segments_built()[-1] == everything
    assert len(full.segments_built()) == SEGMENTS + 1  # ids begin with 1
    rows = rows_of(full.manifest)
    assert rows["domain_exports"] == load.rows
    assert rows["candidate_exports"] == load.candidates
    assert rows["rejected_rows"] == 0
    assert full.manifest is not None
    assert full.manifest.database.rows == sum(rows.values())


@with_many_rows
def test_memory_is_bounded(full: Run) -> None:
    """It takes 640 MiB, and 800 where the chunks that were read are kept."""
    assert 100 * 2**20 < full.peak_bytes < MAX_BYTES


def test_where_nothing_changed_each_table_is_scanned_once_and_no_row_is_fetched(unchanged: Run) -> None:
    assert unchanged.manifest is None
    assert unchanged.scans == Scans(domains=1, gleif_candidates=1)
    assert unchanged.received <= MESSAGES_BYTES
    assert unchanged.segments_built() == []


def test_a_changed_segment_alone_is_fetched_and_built(load: Load, full: Run, one_segment: Run, floor: int) -> None:
    # The scan for fingerprints, and the one for the segment's rows, unless an index gives these.
    assert 1 <= one_segment.scans.domains <= 2
    assert 1 <= one_segment.scans.gleif_candidates <= 2
    assert one_segment.received <= floor * load.segment_size / load.rows * 1.1 + MESSAGES_BYTES
    assert len(one_segment.segments_built()) == 1
    assert one_segment.manifest is not None
    assert one_segment.manifest.changed_segments == ("000002",)
    assert rows_of(one_segment.manifest) == rows_of(full.manifest)


@with_many_rows
def test_an_update_of_all_candidates_takes_no_more_memory_than_reading_all(full: Run, all_candidates: Run) -> None:
    """Of rows that differ only keys are kept, segment by segment: it takes 640 MiB, and 1,049 where rows are kept."""
    assert len(all_candidates.segments_built()) >= SEGMENTS
    assert all_candidates.peak_bytes < MAX_BYTES
