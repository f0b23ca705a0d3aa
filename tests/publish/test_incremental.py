"""Publishing on top of an older snapshot gives what publishing everything again gives, in both formats."""

import math
import os
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.errors import PublishError, StagingError
from pipelines.snapshots import database as database_module
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.parquet import write_parquet
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.files import sha256_of
from tests.forking import run_forked
from tests.publish.kit import BEFORE, FAR_AWAY, Kit, Said, in_duckdb, new_id, staging_record, start_process
from tests.publish.rows import DOMAIN_EXPORTS, TABLES, domain_rows
from tests.publish.test_database import read_by_1_4
from tests.publish.test_publish import READER

pytestmark = pytest.mark.standard


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
    assert "free space" in run_forked(FULL_DISK, base.root, limit).stdout
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
