"""What differs between two snapshots, by the digests of their files, and how much of the DuckDB file that replaces."""

from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from pipelines.contracts.records import FileRecord, TableRecord
from pipelines.contracts.segments import Segmentation, join_bounds
from pipelines.contracts.tables import BATCH_SUMMARIES, UNIQUE_DOMAINS
from pipelines.snapshots import database as database_module
from pipelines.snapshots.database import WriterOptions, update_database
from pipelines.snapshots.database_writer import Task
from pipelines.snapshots.duckdb_connections import in_ranges
from pipelines.snapshots.table_changes import TableChanges, differing
from tests.publish.kit import Kit, new_id, staging_record
from tests.publish.rows import DOMAIN_EXPORTS, REJECTED_ROWS

pytestmark = pytest.mark.standard


CUT = staging_record(new_id(1)).segmentation


def test_what_differs_is_told_by_digests(base: Kit) -> None:
    before = base.current()
    base.publish_changes(2, {0: [1], 1: range(100, 110), 4: [400]}, 3)
    now = base.current()
    scope = differing(DOMAIN_EXPORTS, before.record_of("domain_exports"), now.record_of("domain_exports"), CUT)
    assert [file.path for file in scope.files] == [
        "domain_exports/000000.parquet",
        "domain_exports/000004.parquet",
    ]
    assert scope.parts == (-1, 0, 3, 4)
    assert join_bounds(scope.bounds, scope.parts) == [(-100, 100), (300, 500)]
    whole = differing(REJECTED_ROWS, before.record_of("rejected_rows"), now.record_of("rejected_rows"), CUT)
    assert (whole.parts, whole.condition, whole.is_empty) == (None, "true", False)
    same = differing(REJECTED_ROWS, now.record_of("rejected_rows"), now.record_of("rejected_rows"), CUT)
    assert same.is_empty


def test_files_of_key_ranges_are_told_apart_by_their_cuts() -> None:
    """Where the keys are cut otherwise, or rows of any key changed, the whole table differs."""

    def record(digests: str, cuts: tuple[str, ...] = ("5", "a"), *, numbered: bool = True) -> TableRecord:
        files = tuple(
            FileRecord(
                path=f"t/{n:04d}.parquet",
                segment=n if numbered else None,
                rows=int(digest != "-"),
                bytes=1,
                sha256=digest,
            )
            for n, digest in enumerate(digests)
            if digest != " "
        )
        return TableRecord(
            name="t", staging_id="", contract_version="", rows=0, files=files, cuts=cuts, checks=(), timings_s={}
        )

    one = differing(UNIQUE_DOMAINS, record("abc"), record("axc"), CUT)
    assert ([file.segment for file in one.files], one.parts) == ([1], (1,))
    assert one.condition == """"domain_hash" >= '5' AND "domain_hash" < 'a'"""
    gone = differing(UNIQUE_DOMAINS, record("abc"), record("ab "), CUT)
    assert (gone.files, gone.condition) == ((), """"domain_hash" >= 'a'""")
    assert differing(UNIQUE_DOMAINS, record("abc"), record("abc"), CUT).is_empty
    others = differing(UNIQUE_DOMAINS, record("abc"), record("abc", ("5", "b")), CUT)
    assert others.is_empty  # the same files hold the same rows, whatever the cuts
    cut_again = differing(UNIQUE_DOMAINS, record("abc"), record("axc", ("5", "b")), CUT)
    assert (len(cut_again.files), cut_again.parts, cut_again.condition) == (3, None, "true")
    summary = differing(BATCH_SUMMARIES, record("a", (), numbered=False), record("b", (), numbered=False), CUT)
    assert (len(summary.files), summary.parts) == (1, None)


def test_many_segments_are_replaced_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In one pass over the files: compared with each other, 20,000 segments took 14 s instead of 0.3."""
    tasks: list[Task] = []

    def keep(task: Task, _: Callable[[str, int], None]) -> None:
        tasks.append(task)
        (tmp_path / "exports.duckdb").touch()

    monkeypatch.setattr(database_module, "write", keep)
    files = tuple(
        FileRecord(path=f"domain_exports/{n:08d}.parquet", segment=n, rows=100, bytes=1, sha256="")
        for n in range(0, 40_000, 2)
    )
    scope = TableChanges(files, tuple(range(0, 40_000, 2)), "domain_id", Segmentation(100, tuple(range(40_000))).bounds)
    update_database(
        tmp_path / "exports.duckdb", [DOMAIN_EXPORTS], {"domain_exports": scope}, 1, WriterOptions(in_process=True)
    )
    replacements = tasks[0].tables[0].replacements
    assert [len(part.files) for part in replacements] == [10_000, 10_000]
    assert [part.ranges[0] for part in replacements if part.ranges] == [(None, 100), (2_000_000, 2_000_100)]


@pytest.mark.parametrize("count", [0, 1, 8, 9, 100, 3_000])
def test_a_condition_of_many_ranges_finds_their_rows_by_a_search(count: int) -> None:
    """All ranges joined by OR took ten times as long for 3,000."""
    rows = 300_000
    step = rows // max(1, count)
    ranges = [(n * step - 1_000, n * step - 1_000 + step // 2) for n in range(count)]
    plain = " OR ".join(f"domain_id >= {low} AND domain_id < {high}" for low, high in ranges) or "false"
    with duckdb.connect() as connection:
        connection.execute("SET threads = 1")
        connection.execute(f"CREATE TABLE t AS SELECT i::INTEGER AS domain_id FROM range(-2000, {rows}) r(i)")
        connection.execute("INSERT INTO t VALUES (NULL)")
        found = [
            connection.execute(f"SELECT count(*), sum(domain_id) FROM t WHERE {condition}").fetchall()
            for condition in (plain, in_ranges("domain_id", ranges))
        ]
    assert found[0] == found[1]
    assert found[0][0][0] == sum(high - low for low, high in ranges)
