"""Publishing on top of an older snapshot gives what publishing everything again gives, in both formats."""

import math
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.contracts.records import FileRecord, TableRecord
from pipelines.contracts.segments import Segmentation, join_bounds
from pipelines.contracts.tables import BATCH_SUMMARIES, UNIQUE_DOMAINS
from pipelines.errors import PublishError, StagingError
from pipelines.snapshots import database as database_module
from pipelines.snapshots.database import WriterOptions, build_database, update_database
from pipelines.snapshots.database_writer import Task
from pipelines.snapshots.duckdb_connections import in_ranges
from pipelines.snapshots.opening import Snapshot, list_snapshots
from pipelines.snapshots.parquet import write_parquet
from pipelines.snapshots.table_changes import TableChanges, differing
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.files import sha256_of
from tests.publish.kit import (
    DOMAIN_EXPORTS,
    REJECTED_ROWS,
    TABLES,
    Kit,
    domain_rows,
    flip_a_byte,
    in_duckdb,
    in_process,
    new_id,
    staging_record,
    start_process,
)
from tests.publish.test_database import read_by_1_4
from tests.publish.test_publish import READER

pytestmark = pytest.mark.standard

FAR_AWAY = 100_000_000  # a file of few rows grows by whole blocks, over the limit at once
BEFORE: dict[int, Any] = {-1: [-7, -2], 0: range(5), 1: range(100, 110), 3: [300]}
CUT = staging_record(new_id(1)).segmentation

# What a run finds changed: segments, rejected rows, values of all domain rows of a segment.
CHANGES: dict[str, tuple[dict[int, Any], int, dict[int, dict[str, Any]]]] = {
    "nothing": (BEFORE, 2, {}),
    "cells": (BEFORE, 2, {1: {"company_name": "other"}}),
    "cells_of_neighbours": (BEFORE, 2, {0: {"status": "failed"}, 1: {"lei_codes": [""]}, -1: {"domain": "x"}}),
    "minus_zero": (BEFORE, 2, {3: {"confidence_score": -0.0}}),
    "rows_more": ({**BEFORE, 1: range(100, 150)}, 2, {}),
    "rows_fewer": ({**BEFORE, 1: [103]}, 2, {}),
    "rows_others": ({**BEFORE, 1: range(110, 120)}, 2, {}),
    "segment_more": ({**BEFORE, 2: [200, 201], 7: [799]}, 2, {}),
    "segment_fewer": ({-1: [-7, -2], 1: range(100, 110), 3: [300]}, 2, {}),
    "segments_all_gone": ({0: []}, 2, {}),
    "segment_of_another_place": ({-1: [-7, -2], 0: range(5), 2: range(200, 210), 3: [300]}, 2, {}),
    "rejected_rows_more": (BEFORE, 9, {}),
    "rejected_rows_gone": (BEFORE, 0, {}),
    "everything": ({1: range(103, 140), 9: [900]}, 5, {1: {"company_name": None}}),
}


@pytest.fixture(scope="module")
def base_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = Kit(tmp_path_factory.mktemp("base"))
    kit.publish(1, BEFORE, built=kit.build(new_id(1), BEFORE, 2, {3: {"confidence_score": 0.0}}))
    kit.edit_manifest(rebuilt_database_bytes=FAR_AWAY)
    return kit


@pytest.fixture
def base(base_to_copy: Kit, tmp_path: Path) -> Kit:
    """One snapshot of the segments in BEFORE."""
    return base_to_copy.copy_to(tmp_path)


class Said(list[str]):
    def __call__(self, progress: Any) -> None:
        self.append(progress.what)

    @property
    def why_anew(self) -> str:
        return "".join(what for what in self if "built again" in what)


def contents(snapshot: Snapshot) -> dict[str, list[pl.DataFrame]]:
    """Each table from both formats; DuckDB's in sort order."""
    orders = {
        table.name: ", ".join(f"{name} NULLS LAST" for name in dict.fromkeys((*table.sort_by, *table.key)))
        for table in TABLES
    }
    return {
        name: [
            snapshot.scan(name).collect(),
            in_duckdb(f"FROM {name} ORDER BY {order}", snapshot.database_path),
        ]
        for name, order in orders.items()
    }


def assert_same(one: Snapshot, other: Snapshot) -> None:
    left, right = contents(one), contents(other)
    for name, faces in left.items():
        for frame, expected in zip(faces, right[name], strict=True):
            assert_frame_equal(frame, expected)
            for column in frame.select(pl.selectors.float()).columns:
                signs = [[math.copysign(1, x) for x in f[column].drop_nulls()] for f in (frame, expected)]
                assert signs[0] == signs[1]


@pytest.mark.parametrize("change", CHANGES)
def test_it_is_what_a_rebuild_gives(base: Kit, tmp_path: Path, change: str) -> None:
    segments, rejected, values = CHANGES[change]
    values = {3: {"confidence_score": 0.0}, **values}
    said = Said()
    manifest = base.publish_changes(2, segments, rejected, values, on_progress=said)
    assert not said.why_anew
    verify_snapshot(base.current())
    (tmp_path / "again").mkdir()
    again = Kit(tmp_path / "again")
    again.publish(2, built=again.build(new_id(2), segments, rejected, values))
    assert_same(base.current(), again.current())
    assert (manifest.base_snapshot, manifest.rebuilt_database_bytes) == (new_id(1), FAR_AWAY)
    assert base.current().database_path.stat().st_nlink == 1


def test_many_runs_one_after_the_other(base: Kit, tmp_path: Path) -> None:
    segments: dict[int, Any] = dict(BEFORE)
    values: dict[int, dict[str, Any]] = {3: {"confidence_score": 0.0}}
    for number in range(2, 7):
        segments[number % 3] = [number % 3 * 100 + i for i in range(number * 3)]
        values[1] = {"company_name": f"run {number}"}
        said = Said()
        base.publish_changes(number, segments, number, values, keep_snapshots=1, keep_hours=0, on_progress=said)
        assert not said.why_anew
    (tmp_path / "again").mkdir()
    again = Kit(tmp_path / "again")
    again.publish(6, built=again.build(new_id(6), segments, 6, values))
    assert_same(base.current(), again.current())
    verify_snapshot(base.current())


def test_the_manifest_tells_what_was_read(base: Kit) -> None:
    manifest = base.publish_changes(2, {**BEFORE, 1: [103], 3: []}, values={})
    assert manifest.changed_segments == ("000001", "000003")
    first = {file.path: file.first_snapshot for table in manifest.tables for file in table.files}
    assert first["domain_exports/000000.parquet"] == new_id(1)
    assert first["domain_exports/000001.parquet"] == new_id(2)
    check = next(c for c in manifest.checks if (c.table, c.name) == ("domain_exports", "faces_equal"))
    assert check.metadata == {"rows_duckdb": 1, "rows_parquet": 1, "files": 2}
    assert manifest.database.first_snapshot == new_id(2)


def test_replacements_of_bounded_size(base: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_module, "_ROWS_PER_REPLACEMENT", 8)
    base.publish_changes(2, {0: range(9), 1: range(100, 112), 2: [200], 4: [], 5: [501]}, 3)
    verify_snapshot(base.current())


# --- when a copy will not do: the file is built again, and says why


def damage_database(kit: Kit) -> None:
    flip_a_byte(kit.current().database_path)


def lose_database(kit: Kit) -> None:
    kit.current().database_path.unlink()


def change_version(kit: Kit) -> None:
    kit.edit_manifest(versions={**kit.current().manifest.versions, "duckdb": "1.9.9"})


def forget_size(kit: Kit) -> None:
    kit.edit_manifest(rebuilt_database_bytes=0)


def grow_before(kit: Kit) -> None:
    kit.edit_manifest(rebuilt_database_bytes=1_000)


def grow_by_the_change(kit: Kit) -> None:
    kit.edit_manifest(rebuilt_database_bytes=int(kit.current().database_path.stat().st_size / 1.5) + 1)


def other_segments(kit: Kit) -> None:
    kit.edit_manifest(segment_size=77)


def tamper(kit: Kit) -> None:
    """Rows of a segment that does not change are gone, and the manifest has the digest of that."""
    path = kit.current().database_path
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM candidate_exports WHERE domain_id = 3")
    record = kit.current().manifest.database
    kit.edit_manifest(database=record.model_copy(update={"sha256": sha256_of(path), "bytes": path.stat().st_size}))


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (damage_database, r"exports\.duckdb is damaged"),
        (lose_database, r"exports\.duckdb is missing"),
        (change_version, "the DuckDB version is not that of snapshot"),
        (other_segments, "the SEGMENT_SIZE is not that"),
        (forget_size, "is not known"),
        (grow_before, "it has grown from 1,000 bytes"),
        (grow_by_the_change, "it has grown from"),
        (tamper, r"did not pass candidate_exports\.database_rows"),
    ],
)
def test_the_database_is_built_anew(base: Kit, prepare: Callable[[Kit], None], why: str) -> None:
    prepare(base)
    said = Said()
    manifest = base.publish_changes(2, {**BEFORE, 1: range(100, 200), 2: range(200, 300)}, 3000, on_progress=said)
    assert re.search(why, said.why_anew)
    assert manifest.rebuilt_database_bytes == manifest.database.bytes
    verify_snapshot(base.current())


def test_a_database_of_wrong_rows_in_a_changed_segment_is_put_right(base: Kit) -> None:
    """Rows are compared, not trusted: what the older file has too much of or lacks does not matter."""
    path = base.current().database_path
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM domain_exports WHERE domain_id = 103")
        connection.execute("UPDATE domain_exports SET domain = 'wrong' WHERE domain_id = 104")
    record = base.current().manifest.database
    edited = record.model_copy(update={"sha256": sha256_of(path), "bytes": path.stat().st_size})
    base.edit_manifest(database=edited)
    said = Said()
    base.publish_changes(2, {**BEFORE, 1: range(100, 111)}, on_progress=said)
    assert not said.why_anew
    verify_snapshot(base.current())


def test_too_many_changes(tmp_path: Path) -> None:
    path = tmp_path / "domain_exports" / "000000.parquet"
    record = write_parquet(domain_rows(range(50)), path, table=DOMAIN_EXPORTS, segment=0)
    database = tmp_path / "exports.duckdb"
    build_database(database, [DOMAIN_EXPORTS], {"domain_exports": [path]})
    write_parquet(domain_rows(range(50), status="failed"), path, table=DOMAIN_EXPORTS, segment=0)
    changes = {"domain_exports": TableChanges((record,), (0,), "domain_id", CUT.bounds)}
    with pytest.raises(PublishError, match="could not be updated"):
        update_database(database, [DOMAIN_EXPORTS], changes, 99)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["domain_exports"]


# --- damage of the older snapshot's Parquet files


def test_a_damaged_file_that_only_the_base_has_stops_the_run(base: Kit) -> None:
    flip_a_byte(base.current().folder / "domain_exports" / "000000.parquet")
    said = Said()
    with pytest.raises(PublishError, match=r"domain_exports/000000\.parquet is not what was written") as caught:
        # The build step cannot know: it links what the base has.
        publish_links(base, said)
    assert "--full-refresh" in caught.value.fix
    assert f"domain_exports/000000.parquet of snapshot {new_id(1)} is missing or damaged" in "".join(said)
    assert base.current().manifest.id == new_id(1)
    assert len(list_snapshots(base.export_dir).snapshots) == 1


def publish_links(kit: Kit, said: Said) -> None:
    snapshot, staging_id = kit.current(), new_id(2)
    built = []
    for record in snapshot.manifest.tables:
        (kit.tables_dir(staging_id) / record.name).mkdir(parents=True)
        for file in record.files:
            (kit.tables_dir(staging_id) / file.path).hardlink_to(snapshot.folder / file.path)
        built.append(record.model_copy(update={"staging_id": staging_id}))
    kit.publish(2, built=built, on_progress=said)


def test_a_damaged_file_is_replaced_by_a_built_one(base: Kit) -> None:
    flip_a_byte(base.current().folder / "candidate_exports" / "000001.parquet")
    (base.current().folder / "rejected_rows" / "all.parquet").unlink()
    said = Said()
    base.publish_changes(2, BEFORE, values={3: {"confidence_score": 0.0}}, linked=False, on_progress=said)
    for path in ("candidate_exports/000001.parquet", "rejected_rows/all.parquet"):
        assert any(path in what and "missing or damaged" in what for what in said)
    verify_snapshot(base.current())


# --- which snapshot it goes on from


def test_a_base_that_is_not_the_newest_any_more_is_refused(base: Kit) -> None:
    built = base.build(new_id(3), {0: [1]})
    base.publish(2)
    staging = staging_record(new_id(3), base_snapshot=new_id(1))
    with pytest.raises(StagingError, match="not the newest any more") as caught:
        base.publish(3, built=built, staging=staging)
    assert new_id(1) in caught.value.expected
    assert new_id(2) in caught.value.found
    assert base.current().manifest.id == new_id(2)


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


# --- as it happens to other snapshots


def test_an_open_reader_of_the_base_is_not_disturbed(base: Kit) -> None:
    digest = sha256_of(base.current().database_path)
    old = base.current().database_path
    enough = base.root / "enough"
    with start_process(READER, old, enough) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        with base.current().connect() as connection:
            base.publish_changes(2, {**BEFORE, 1: [103]})
            assert connection.execute("SELECT count(*) FROM domain_exports").fetchall() == [(18,)]
        assert reader.poll() is None
        enough.touch()
        out, err = reader.communicate(timeout=120)
    assert (out, err) == ("18\n", "")
    assert sha256_of(old) == digest


@pytest.mark.skipif("LEI_EXPORTS_DUCKDB14" not in os.environ, reason="LEI_EXPORTS_DUCKDB14: a folder with DuckDB 1.4")
def test_duckdb_1_4_reads_a_changed_copy(base: Kit) -> None:
    base.publish_changes(2, {**BEFORE, 1: range(100, 150)}, 7)
    said = read_by_1_4(base.current().database_path)
    assert said[1:4] == ["58", "116", "7"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.errors import PublishError
from tests.publish.kit import Kit
kit, limit = Kit(Path(sys.argv[1])), int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    kit.publish_changes(2, {0: range(5), 1: range(100, 105)})
except PublishError as error:
    print(error)
"""


@pytest.mark.parametrize("limit", [300_000, 800_000])
def test_a_full_disk_leaves_the_base(base: Kit, limit: int) -> None:
    assert "free space" in in_process(FULL_DISK, base.root, limit).stdout
    assert base.current().manifest.id == new_id(1)
    assert [path.name for path in (base.export_dir / "snapshots").iterdir()] == [new_id(1)]
    verify_snapshot(base.current())


def test_a_text_of_the_contract_that_changed_is_published(base: Kit) -> None:
    path = base.current().database_path
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("COMMENT ON COLUMN domain_exports.domain IS 'an older text'")
        connection.execute("COMMENT ON TABLE entities IS NULL")
    record = base.current().manifest.database
    edited = record.model_copy(update={"sha256": sha256_of(path), "bytes": path.stat().st_size})
    base.edit_manifest(database=edited)
    said = Said()
    base.publish_changes(2, BEFORE, on_progress=said)
    assert not said.why_anew
    verify_snapshot(base.current())


def test_a_row_outside_of_its_segment_does_not_pass(base: Kit) -> None:
    built = list(base.build(new_id(2), BEFORE))
    path = base.tables_dir(new_id(2)) / "domain_exports" / "000000.parquet"
    file = write_parquet(domain_rows([1, 100]), path, table=DOMAIN_EXPORTS, segment=0)
    files = (built[0].files[0], file, *built[0].files[2:])
    built[0] = built[0].model_copy(update={"files": files, "rows": sum(f.rows for f in files)})
    with pytest.raises(PublishError, match=r"domain_exports\.parquet_rows .*000000"):
        base.publish(2, built=built, staging=staging_record(new_id(2), base_snapshot=new_id(1)))
    assert base.current().manifest.id == new_id(1)
