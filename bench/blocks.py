"""What a full run can't do without, each part alone: `python -m bench.blocks read|parquet|database|verify`.

Nothing is computed here. The sum of their processor time, divided by the cores, is the least that any run can take that
reads with connectorx, writes the same Parquet files with Polars and the same DuckDB file, and verifies both.
"""

import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from pipelines.system import runtime_tuning  # noqa: F401  first: it works before Polars is loaded only

# isort: split
import polars as pl

from pipelines.build.extraction import open_source
from pipelines.contracts.tables import published_tables
from pipelines.settings import load_settings
from pipelines.snapshots.database import build_database
from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.snapshots.parquet import write_parquet
from pipelines.snapshots.verification import verify_snapshot
from pipelines.source.preflight import open_snapshot
from pipelines.source.ranges import plan_ranges
from pipelines.source.reader import read_query

TITLES = {
    "read": "both tables read with connectorx in page ranges, thrown away",
    "parquet": "every published Parquet file read and written again",
    "database": "`exports.duckdb` written again from these files",
    "verify": "digests of all files, both formats verified",
}


def read() -> None:
    """Read both tables as a run does, and keep nothing."""
    settings = load_settings()
    with (
        open_source(settings) as address,
        open_snapshot(address, settings) as snapshot,
        ThreadPoolExecutor(settings.read_connections) as pool,
    ):
        ranges = [one for relation in snapshot.relations for one in plan_ranges(relation)]
        queries = [one.as_string(snapshot.connection) for one in ranges]
        setup = snapshot.reader_setup()
        for _ in pool.map(lambda query: read_query(snapshot.reader_url, query, setup).num_rows, queries):
            pass


def parquet() -> None:
    """Read and write every file of the published snapshot."""
    snapshot = _published()
    with _folder() as folder:
        for table in published_tables(include_full_data=False):
            for file in snapshot.record_of(table.name).files:
                frame = pl.read_parquet(snapshot.folder / file.path)
                write_parquet(frame, Path(folder) / file.path, table=table, segment=file.segment)


def database() -> None:
    """Write the DuckDB file of the published snapshot."""
    snapshot = _published()
    tables = published_tables(include_full_data=False)
    files = {t.name: [snapshot.folder / file.path for file in snapshot.record_of(t.name).files] for t in tables}
    with _folder() as folder:
        build_database(Path(folder) / "exports.duckdb", tables, files)


def verify() -> None:
    """Verify the published snapshot."""
    verify_snapshot(_published())


def _published() -> Snapshot:
    return published_snapshot(load_settings().export_dir)


def _folder() -> "tempfile.TemporaryDirectory[str]":
    return tempfile.TemporaryDirectory(dir=load_settings().export_dir.parent)


BLOCKS: dict[str, Callable[[], None]] = {"read": read, "parquet": parquet, "database": database, "verify": verify}

if __name__ == "__main__":
    BLOCKS[sys.argv[1]]()
