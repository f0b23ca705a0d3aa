import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.errors import SnapshotError
from pipelines.snapshots.history import read_switches
from pipelines.snapshots.opening import list_snapshots
from pipelines.snapshots.retention import prune_now, prune_snapshots
from pipelines.snapshots.rollback import release_rollback, rollback
from pipelines.snapshots.switch import forget_switches
from pipelines.snapshots.verification import verify_snapshot
from tests.publish.kit import BEGIN, Kit, at, new_id, staging_record

pytestmark = pytest.mark.standard


def remaining(kit: Kit) -> list[int]:
    return [int(s.manifest.id[-8:], 16) for s in list_snapshots(kit.export_dir).snapshots]


@pytest.fixture(scope="module")
def five_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = Kit(tmp_path_factory.mktemp("five"))
    for number in range(1, 6):
        kit.publish(number, {0: range(5), 1: range(100, 100 + number)})
    assert remaining(kit) == [1, 2, 3, 4, 5]
    return kit


@pytest.fixture
def five(five_to_copy: Kit, tmp_path: Path) -> Kit:
    """Published at hours 1 to 5, all kept."""
    return five_to_copy.copy_to(tmp_path)


@pytest.mark.parametrize(
    ("keep", "hours", "now", "kept"),
    [
        (2, 0, 6, [4, 5]),
        (1, 0, 6, [5]),
        # 4 was current until hour 5: a reader may still have it open.
        (1, 0, 5.9, [4, 5]),
        (5, 0, 100, [1, 2, 3, 4, 5]),
        (9, 0, 100, [1, 2, 3, 4, 5]),
        # 2 was current until hour 3, which is 4 hours before hour 7; 1 until hour 2.
        (1, 4.5, 7, [2, 3, 4, 5]),
        (1, 4, 7, [3, 4, 5]),
        (1, 24, 7, [1, 2, 3, 4, 5]),
    ],
)
def test_the_newest_and_the_recently_current_stay(
    five: Kit, keep: int, hours: float, now: float, kept: list[int]
) -> None:
    report = prune_snapshots(five.export_dir, keep, hours, BEGIN + timedelta(hours=now))
    assert remaining(five) == kept
    assert sorted(report.deleted) == [new_id(n) for n in range(1, 6) if n not in kept]
    verify_snapshot(five.current())


def test_one_snapshot_an_hour_stays(tmp_path: Path) -> None:
    """A source that is written all the time gives one every few minutes: 600 in 20 hours, and all of them stayed."""
    kit = Kit(tmp_path)
    for minutes in range(0, 241, 20):
        number = minutes // 20 + 1
        kit.publish(minutes / 60, staging=staging_record(new_id(number)), keep_snapshots=2, keep_hours=3)
    # The newest two; those that were current within the last hour; of two hours before the last one each.
    minutes_kept = [(number - 1) * 20 for number in remaining(kit)]
    assert minutes_kept == [100, 160, 180, 200, 220, 240]
    verify_snapshot(kit.current())


def test_the_target_of_current_stays_however_old(five: Kit) -> None:
    (five.export_dir / "current").unlink()
    (five.export_dir / "current").symlink_to(f"snapshots/{new_id(2)}")
    prune_snapshots(five.export_dir, 1, 0, BEGIN + timedelta(days=30))
    assert remaining(five) == [2, 5]
    verify_snapshot(five.current())


def test_nothing_is_deleted_while_nothing_is_current(five: Kit) -> None:
    (five.export_dir / "current").unlink()
    prune_snapshots(five.export_dir, 1, 0, BEGIN + timedelta(days=30))
    assert len(remaining(five)) == 5
    (five.export_dir / "current").symlink_to("snapshots/gone")
    with pytest.raises(SnapshotError):
        prune_snapshots(five.export_dir, 1, 0, BEGIN + timedelta(days=30))
    assert len(remaining(five)) == 5


def test_an_unreadable_folder_is_left_and_reported(five: Kit) -> None:
    manifest = five.export_dir / "snapshots" / new_id(1) / "manifest.json"
    manifest.unlink()
    report = prune_snapshots(five.export_dir, 1, 0, BEGIN + timedelta(days=30))
    assert list(report.unreadable) == [new_id(1)]
    assert manifest.parent.is_dir()
    said: list[str] = []
    five.publish(6, on_progress=lambda progress: said.append(progress.what))
    assert any(what.startswith("left alone") and new_id(1) in what for what in said)


def test_publishing_prunes_and_finishes_half_deletions(kit: Kit) -> None:
    for number in range(1, 5):
        kit.publish(number, keep_snapshots=2, keep_hours=0)
    assert remaining(kit) == [3, 4]
    half = kit.export_dir / "snapshots" / f".deleting-{new_id(1)}"
    (half / "domain_exports").mkdir(parents=True)
    prune_snapshots(kit.export_dir, 2, 0, BEGIN)
    assert not half.exists()


def test_links_outlive_the_snapshot_that_had_the_file_first(kit: Kit) -> None:
    kit.publish(1)
    kit.publish(2)
    prune_now(kit.export_dir, 5, 24, BEGIN + timedelta(hours=2), all_but_current=True)
    assert remaining(kit) == [2]
    verify_snapshot(kit.current())
    assert kit.current().manifest.tables[0].files[0].first_snapshot == new_id(1)


# --- what was current, by the record of switches


def test_what_a_rollback_needs_stays(two: Kit) -> None:
    rollback(two.export_dir, new_id(1), now=at(3))
    two.publish(4, {0: range(8)}, keep_snapshots=1, keep_hours=0)
    # 1 is current, 4 is what the release goes to; 2 was current until hour 3.
    assert remaining(two) == [1, 4]
    assert release_rollback(two.export_dir, now=at(5)).manifest.id == new_id(4)


def test_hours_count_from_when_a_snapshot_was_last_current(two: Kit) -> None:
    rollback(two.export_dir, new_id(1), now=at(3))
    two.publish(4, {0: range(8)})
    release_rollback(two.export_dir, now=at(20))
    two.publish(21, {0: range(9)})
    # 1 was current until hour 20, 2 until hour 3, 4 until hour 21.
    report = prune_now(two.export_dir, 1, 2, BEGIN + timedelta(hours=21.5), is_trial=True)
    assert report.deleted == (new_id(2),)
    assert remaining(two) == [1, 2, 4, 21]
    assert prune_now(two.export_dir, 1, 1.2, BEGIN + timedelta(hours=21.5)).deleted == (new_id(1), new_id(2))


def test_a_snapshot_that_never_was_current_does_not_count_as_current(two: Kit) -> None:
    rollback(two.export_dir, new_id(1), now=at(3))
    two.publish(4, {0: range(8)})
    two.publish(5, {0: range(9)})
    assert prune_now(two.export_dir, 1, 24, BEGIN + timedelta(hours=6)).deleted == (new_id(4),)


def test_without_a_record_the_next_snapshot_ends_it(two: Kit) -> None:
    (two.export_dir / "switches.jsonl").write_bytes(b"\xff not json\n")
    assert prune_now(two.export_dir, 1, 5, BEGIN + timedelta(hours=6)).deleted == ()
    assert prune_now(two.export_dir, 1, 5, BEGIN + timedelta(hours=7.1)).deleted == (new_id(1),)


def test_freed_bytes_are_those_that_nothing_else_links(two: Kit) -> None:
    snapshot = two.export_dir / "snapshots" / new_id(1)
    shutil.rmtree(two.export_dir / "staging")
    only_here = sum(p.stat().st_size for p in snapshot.rglob("*") if p.is_file() and p.stat().st_nlink == 1)
    report = prune_now(two.export_dir, 1, 0, BEGIN + timedelta(days=1))
    assert report.freed_bytes == only_here > 0


def test_a_line_that_a_crash_cut_off_is_left_out(two: Kit) -> None:
    with (two.export_dir / "switches.jsonl").open("ab") as file:
        file.write(b'{"at": "2026-')
    two.publish(3, {0: range(8)})
    assert [switch.sequence for switch in read_switches(two.export_dir)] == [1, 2, 3]


def test_the_record_is_shortened(two: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.snapshots.switch._REMEMBERED", 2)
    for name in (new_id(1), new_id(2)) * 3:
        rollback(two.export_dir, name, now=at(3))
    before = read_switches(two.export_dir)
    (two.export_dir / "snapshots" / new_id(2)).rename(two.root / "gone")
    forget_switches(two.export_dir)
    after = read_switches(two.export_dir)
    assert after[-2:] == before[-2:]
    assert {switch.previous for switch in after[:-2]} == {new_id(1)}
