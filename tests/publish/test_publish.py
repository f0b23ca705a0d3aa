import json
import shutil
import stat
from datetime import timedelta
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.contracts.tables import DERIVED_TABLES
from pipelines.errors import BusyError
from pipelines.snapshots.opening import list_snapshots
from pipelines.snapshots.switch import building_folder, hold_publish_lock
from pipelines.snapshots.verification import verify_snapshot
from tests.publish.kit import BEGIN, Kit, flip_a_byte, in_duckdb, new_id, staging_record, start_process
from tests.publish.rows import DOMAIN_EXPORTS, REJECTED_ROWS, TABLES, domain_rows

pytestmark = pytest.mark.fast

READER = """
import sys, time
from pathlib import Path
import duckdb
connection = duckdb.connect(sys.argv[1], read_only=True)
before = connection.execute("SELECT count(*), sum(domain_id) FROM domain_exports").fetchone()
print("reading", flush=True)
enough = Path(sys.argv[2])  # not a time: on a busy machine publishing takes longer than any
deadline = time.monotonic() + 300
while not enough.exists() and time.monotonic() < deadline:
    assert connection.execute("SELECT count(*), sum(domain_id) FROM domain_exports").fetchone() == before
print(before[0])
"""


def test_a_snapshot_has_the_layout_of_the_design(kit: Kit) -> None:
    manifest = kit.publish(1)
    folder = kit.export_dir / "snapshots" / new_id(1)
    assert (kit.export_dir / "current").readlink() == Path("snapshots") / new_id(1)
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == [
        "batch_summaries/all.parquet",
        "candidate_exports/000000.parquet",
        "candidate_exports/000001.parquet",
        "domain_exports/000000.parquet",
        "domain_exports/000001.parquet",
        "entities/all.parquet",
        "exports.duckdb",
        "jurisdiction_summaries/all.parquet",
        "manifest.json",
        "rejected_rows/all.parquet",
        "unique_domains/all.parquet",
    ]
    modes = {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()}
    assert modes == {0o444}
    assert kit.current().manifest == manifest
    assert (manifest.id, manifest.sequence, manifest.created_at) == (new_id(1), 1, BEGIN + timedelta(hours=1))
    assert {file.first_snapshot for table in manifest.tables for file in table.files} == {new_id(1)}
    assert manifest.database.first_snapshot == new_id(1)
    assert manifest.database.rows == 9 + 18 + 2
    stages = {"read", "publish_link", "publish_database", "publish_verify", "publish_extras"}
    assert set(manifest.timings_s) == stages
    assert all(check.passed for check in manifest.checks)
    assert {"python", "polars", "duckdb", "duckdb_storage", "lei-exports"} <= set(manifest.versions)
    assert json.loads((kit.export_dir / "last_checked.json").read_text()) == {
        "checked_at": (BEGIN + timedelta(hours=1)).isoformat(),
        "result": "published",
        "snapshot_id": new_id(1),
        "sequence": 1,
    }
    hidden = sorted(p.name for p in kit.export_dir.rglob(".*"))
    assert hidden == [".digests.json", ".publish.lock", ".run.lock"]


def test_both_faces_hold_what_was_built(kit: Kit) -> None:
    kit.publish(1, {0: range(5), 1: range(100, 110)})
    snapshot = kit.current()
    expected = pl.concat([domain_rows(range(5)), domain_rows(range(100, 110))])
    assert_frame_equal(snapshot.scan("domain_exports").collect(), expected)
    assert_frame_equal(in_duckdb("FROM domain_exports ORDER BY domain_id", snapshot.database_path), expected)


def test_empty_tables_are_published(kit: Kit) -> None:
    frames = {table.name: {None: pl.DataFrame(schema=table.polars_schema)} for table in TABLES}
    kit.publish(1, built=kit.write(new_id(1), frames))
    verify_snapshot(kit.current())
    for table in TABLES:
        assert kit.current().scan(table.name).collect().schema == table.polars_schema
        assert in_duckdb(f"FROM {table.name}", kit.current().database_path).schema == table.polars_schema


def test_unchanged_files_are_hard_links_and_keep_their_first_snapshot(kit: Kit) -> None:
    kit.publish(1, {0: range(5), 1: range(100, 110)})
    manifest = kit.publish(2, {0: range(5), 1: range(100, 111)})
    first = {file.path: file.first_snapshot for table in manifest.tables for file in table.files}
    assert first == {
        "domain_exports/000000.parquet": new_id(1),
        "domain_exports/000001.parquet": new_id(2),
        "candidate_exports/000000.parquet": new_id(1),
        "candidate_exports/000001.parquet": new_id(2),
        "rejected_rows/all.parquet": new_id(1),
        **{f"{table.name}/all.parquet": new_id(1) for table in DERIVED_TABLES},
    }
    old, new = (kit.export_dir / "snapshots" / new_id(number) for number in (1, 2))
    for path, snapshot_id in first.items():
        assert (old / path).samefile(new / path) == (snapshot_id == new_id(1))
    assert not (old / "exports.duckdb").samefile(new / "exports.duckdb")
    assert (new / "exports.duckdb").stat().st_nlink == 1


def test_a_damaged_published_file_is_not_taken_over(published: Kit) -> None:
    flip_a_byte(published.current().folder / "domain_exports" / "000000.parquet")
    (published.current().folder / "rejected_rows" / "all.parquet").unlink()
    manifest = published.publish(2)
    first = {file.path: file.first_snapshot for table in manifest.tables for file in table.files}
    assert first["domain_exports/000000.parquet"] == new_id(2)
    assert first["rejected_rows/all.parquet"] == new_id(2)
    assert first["domain_exports/000001.parquet"] == new_id(1)
    verify_snapshot(published.current())


def test_the_same_staging_published_twice_gets_another_id(kit: Kit) -> None:
    staging = staging_record(new_id(1))
    built = kit.build(new_id(1), {0: range(5)})
    first = kit.publish(1, staging=staging, built=built)
    second = kit.publish(2, staging=staging, built=built)
    assert (first.id, first.sequence, second.sequence) == (new_id(1), 1, 2)
    assert second.id != first.id
    assert second.id[:17] == first.id[:17]
    assert kit.current().manifest == second
    verify_snapshot(kit.current())


def test_the_sequence_goes_on_from_the_largest_on_disk(published: Kit) -> None:
    published.publish(2)
    (published.export_dir / "current").unlink()
    (published.export_dir / "current").symlink_to(f"snapshots/{new_id(1)}")
    assert published.publish(3).sequence == 3


def test_an_open_reader_neither_disturbs_nor_is_disturbed(kit: Kit) -> None:
    kit.publish(1, {0: range(5)})
    enough = kit.root / "enough"
    with start_process(READER, kit.export_dir / "current" / "exports.duckdb", enough) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "reading\n"
        in_this_process = kit.current().connect()
        kit.publish(2, {0: range(7)}, keep_snapshots=1, keep_hours=0)
        assert reader.poll() is None
        assert in_this_process.execute("SELECT count(*) FROM domain_exports").fetchall() == [(5,)]
        in_this_process.close()
        enough.touch()
        out, err = reader.communicate(timeout=120)
    assert (out, err) == ("5\n", "")
    with kit.current().connect() as connection:
        assert connection.execute("SELECT count(*) FROM domain_exports").fetchall() == [(7,)]


def test_another_process_in_publish_makes_us_wait_and_then_give_up(published: Kit) -> None:
    with hold_publish_lock(published.export_dir, 0), pytest.raises(BusyError, match="Another run"):
        published.publish(2, lock_wait_seconds=0.2)
    assert published.current().manifest.id == new_id(1)


def test_leftovers_of_killed_runs_are_removed(published: Kit) -> None:
    building = building_folder(published.export_dir, new_id(7), "")
    (building / "domain_exports").mkdir(parents=True)
    (building / "domain_exports" / "x").write_text("half")
    (published.export_dir / f".current-{new_id(7)}").symlink_to("nowhere")
    deleting = published.export_dir / "snapshots" / f".deleting-{new_id(0)}"
    deleting.mkdir()
    published.publish(2)
    assert sorted(p.name for p in published.export_dir.rglob(".*")) == [".digests.json", ".publish.lock", ".run.lock"]


def test_paths_with_glob_characters_work(tmp_path: Path) -> None:
    root = tmp_path / "a[b]* x=1"
    root.mkdir()
    kit = Kit(root)
    kit.publish(1)
    verify_snapshot(kit.current())
    assert kit.current().scan("domain_exports").collect().height == 9


@pytest.mark.parametrize("damage", ["cut", "empty", "no manifest", "no folder"])
def test_a_damaged_current_snapshot_is_replaced(published: Kit, damage: str) -> None:
    published.publish(2)
    folder = published.current().folder
    manifest = folder / "manifest.json"
    manifest.chmod(0o644)
    match damage:
        case "cut":
            manifest.write_bytes(manifest.read_bytes()[:300])
        case "empty":
            manifest.write_bytes(b"")
        case "no manifest":
            manifest.unlink()
        case _:
            shutil.rmtree(folder)
    new = published.publish(3)
    assert published.current().manifest == new
    assert new.sequence == 3, "the number of the damaged one is not given twice"
    verify_snapshot(published.current())


def test_what_fails_after_the_switch_is_told_and_does_not_look_like_a_failed_publish(published: Kit) -> None:
    (published.export_dir / "last_checked.json").unlink()
    (published.export_dir / "last_checked.json").mkdir()
    said: list[str] = []
    published.publish(2, on_progress=lambda progress: said.append(progress.what))
    assert published.current().manifest.id == new_id(2)
    assert any("published, but" in what for what in said)


def test_progress_tells_the_steps(kit: Kit) -> None:
    said: list[str] = []
    manifest = kit.publish(1, on_progress=lambda progress: said.append(f"{progress.stage}: {progress.what}"))
    files = sum(len(table.files) for table in manifest.tables)
    assert said[0] == f"publish: {files} Parquet files linked, 0 of them unchanged"
    assert "publish: domain_exports: 9 rows in exports.duckdb" in said
    assert said[-2:] == ["publish: both formats verified", f"publish: current is snapshot {new_id(1)}"]


def test_listing_has_every_snapshot_in_order(kit: Kit) -> None:
    for number in (1, 3, 2):
        kit.publish(number)
    assert [s.manifest.id for s in list_snapshots(kit.export_dir).snapshots] == [new_id(1), new_id(3), new_id(2)]
    assert DOMAIN_EXPORTS.name in list_snapshots(kit.export_dir).snapshots[0].table_names
    assert REJECTED_ROWS.name in list_snapshots(kit.export_dir).snapshots[0].table_names
