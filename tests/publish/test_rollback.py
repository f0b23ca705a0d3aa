import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.errors import BusyError, SnapshotError
from pipelines.progress import Progress
from pipelines.snapshots.history import read_hold, read_switches
from pipelines.snapshots.lookup import find_snapshot
from pipelines.snapshots.opening import list_snapshots
from pipelines.snapshots.retention import prune_now, prune_snapshots
from pipelines.snapshots.rollback import release_rollback, rollback
from pipelines.snapshots.switch import hold_publish_lock
from pipelines.snapshots.verification import verify_snapshot
from tests.forking import run_forked
from tests.publish.kit import BEGIN, Kit, at, flip_a_byte, new_id

pytestmark = pytest.mark.standard

SIGKILLED = -9
# Dies before or after one of the steps of a rollback or a release: rollback.json, the link, its rename.
KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.snapshots.rollback import release_rollback, rollback
from tests.publish.kit import BEGIN, Kit, new_id
root, what, number, when, calls = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4], []
def counted(call):
    def wrapper(*arguments, **options):
        calls.append(call.__name__)
        if len(calls) == number and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = call(*arguments, **options)
        if len(calls) == number and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return wrapper
for name in ("replace", "symlink"):
    setattr(os, name, counted(getattr(os, name)))
kit = Kit(root)
if what == "rollback":
    rollback(kit.export_dir, new_id(1), now=lambda: BEGIN)
else:
    os.unlink = counted(os.unlink)
    release_rollback(kit.export_dir, now=lambda: BEGIN)
print(" ".join(calls))
"""


def last_checked(kit: Kit) -> dict[str, object]:
    found: dict[str, object] = json.loads((kit.export_dir / "last_checked.json").read_text())
    return found


def test_runs_build_but_do_not_switch_until_the_release(two: Kit) -> None:
    hold = rollback(two.export_dir, new_id(1), now=at(3))
    assert two.current().manifest.id == new_id(1)
    assert json.loads((two.export_dir / "rollback.json").read_text()) == {
        "held_at": "2026-11-23T09:59:32Z",
        "snapshot_id": new_id(1),
        "from": new_id(2),
    }
    assert read_hold(two.export_dir) == hold
    said: list[str] = []
    built = two.publish(4, {0: range(9)}, on_progress=lambda progress: said.append(progress.what))
    assert (built.id, built.sequence) == (new_id(4), 3)
    assert two.current().manifest.id == new_id(1)
    assert last_checked(two)["result"] == "held"
    assert (last_checked(two)["snapshot_id"], last_checked(two)["sequence"]) == (new_id(1), 1)
    assert any(new_id(4) in what and new_id(1) in what and "--release" in what for what in said)
    changes = two.publish_changes(5, {0: range(10)})
    assert changes.base_snapshot == new_id(4)
    assert release_rollback(two.export_dir, now=at(6)).manifest.id == new_id(5)
    assert two.current().manifest == changes
    assert not (two.export_dir / "rollback.json").exists()
    verify_snapshot(two.current())
    two.publish(7)
    assert two.current().manifest.id == new_id(7)
    assert [(s.snapshot_id[-1], (s.previous or "-")[-1], s.why) for s in read_switches(two.export_dir)] == [
        ("1", "-", "published"),
        ("2", "1", "published"),
        ("1", "2", "rollback"),
        ("5", "1", "release"),
        ("7", "5", "published"),
    ]


def test_a_damaged_target_is_refused(two: Kit) -> None:
    flip_a_byte(two.export_dir / "snapshots" / new_id(1) / "domain_exports" / "000001.parquet")
    with pytest.raises(SnapshotError, match="is damaged"):
        rollback(two.export_dir, new_id(1), now=at(3))
    assert two.current().manifest.id == new_id(2)
    assert read_hold(two.export_dir) is None


def test_a_release_to_a_damaged_snapshot_is_refused_and_the_hold_stays(two: Kit) -> None:
    rollback(two.export_dir, "1", now=at(3))
    flip_a_byte(two.export_dir / "snapshots" / new_id(2) / "exports.duckdb")
    with pytest.raises(SnapshotError, match="the rollback stays") as caught:
        release_rollback(two.export_dir, now=at(4))
    assert "--full-refresh" in caught.value.fix
    assert two.current().manifest.id == new_id(1)
    two.publish(5, {0: range(8)})
    assert release_rollback(two.export_dir, now=at(6)).manifest.id == new_id(5)


def test_the_current_snapshot_can_be_held_and_a_hold_moved(two: Kit) -> None:
    rollback(two.export_dir, new_id(2), now=at(3))
    two.publish(4, {0: range(8)})
    assert two.current().manifest.id == new_id(2)
    rollback(two.export_dir, new_id(1), now=at(5))
    assert two.current().manifest.id == new_id(1)
    rollback(two.export_dir, new_id(4), now=at(6))
    assert release_rollback(two.export_dir, now=at(7)).manifest.id == new_id(4)


def test_without_a_rollback_there_is_nothing_to_release(two: Kit, tmp_path: Path) -> None:
    with pytest.raises(SnapshotError, match="No rollback"):
        release_rollback(two.export_dir, now=at(3))
    with pytest.raises(SnapshotError, match="is not there"):
        rollback(tmp_path / "nowhere", "1", now=at(3))


def test_a_rollback_waits_for_a_run_that_publishes(two: Kit) -> None:
    with hold_publish_lock(two.export_dir, 0), pytest.raises(BusyError, match="Another run"):
        rollback(two.export_dir, new_id(1), now=at(3), lock_wait_seconds=0.1)


def test_a_rollback_does_not_wait_for_a_run_that_builds(two: Kit) -> None:
    def roll_back(progress: Progress) -> None:
        if "linked" in progress.what:
            rollback(two.export_dir, new_id(1), now=at(3), lock_wait_seconds=0)

    built = two.publish(4, {0: range(9)}, on_progress=roll_back)
    assert two.current().manifest.id == new_id(1)
    assert last_checked(two)["result"] == "held"
    assert release_rollback(two.export_dir, now=at(6)).manifest == built


def test_a_prune_does_not_wait_for_a_run_that_builds_and_keeps_what_it_needs(two: Kit) -> None:
    def prune(progress: Progress) -> None:
        if "linked" in progress.what:
            prune_now(two.export_dir, 1, 0, BEGIN + timedelta(days=9), lock_wait_seconds=0)

    built = two.publish_changes(4, {0: range(9)}, on_progress=prune)
    assert two.current().manifest == built
    verify_snapshot(two.current())
    assert [s.manifest.sequence for s in list_snapshots(two.export_dir).snapshots] == [2, 3]


def test_an_unreadable_hold_stops_the_run(two: Kit) -> None:
    (two.export_dir / "rollback.json").write_text("{")
    with pytest.raises(SnapshotError, match=r"rollback\.json can't be read"):
        two.publish(3)
    with pytest.raises(SnapshotError, match=r"rollback\.json can't be read"):
        prune_snapshots(two.export_dir, 1, 0, BEGIN + timedelta(days=9))
    assert len(list_snapshots(two.export_dir).snapshots) == 2


@pytest.mark.parametrize(("number", "when"), [(1, "before"), (1, "after"), (3, "before")], ids=str)
def test_a_rollback_is_killed(two: Kit, number: int, when: str) -> None:
    run_forked(KILLED, two.root, "rollback", number, when, status=SIGKILLED)
    is_held = (number, when) != (1, "before")
    assert two.current().manifest.id == new_id(2)
    two.look(3)
    assert two.current().manifest.id == new_id(1 if is_held else 2)
    two.publish(4, {0: range(8)})
    assert two.current().manifest.id == new_id(1 if is_held else 4)
    assert (read_hold(two.export_dir) is not None) == is_held
    assert {path.name for path in two.export_dir.rglob(".*")} == {".digests.json", ".publish.lock", ".run.lock"}


@pytest.mark.parametrize(("number", "when"), [(1, "before"), (1, "after"), (3, "before")], ids=str)
def test_a_release_is_killed(two: Kit, number: int, when: str) -> None:
    rollback(two.export_dir, new_id(1), now=at(3))
    run_forked(KILLED, two.root, "release", number, when, status=SIGKILLED)
    is_released = (number, when) != (1, "before")
    two.look(3)
    assert two.current().manifest.id == new_id(2 if is_released else 1)


def test_the_steps_that_the_tests_above_kill_at(two: Kit) -> None:
    assert run_forked(KILLED, two.root, "rollback", 0, "-").stdout.split() == ["replace", "symlink", "replace"]
    steps = run_forked(KILLED, two.root, "release", 0, "-").stdout.split()
    assert [step for step in steps if step != "unlink"] == ["symlink", "replace"]
    assert steps[0] == "unlink"


# --- a look that found nothing


def test_an_unchanged_source_is_written_down(two: Kit) -> None:
    assert two.look(9) == two.current()
    assert last_checked(two) == {
        "checked_at": (BEGIN + timedelta(hours=9)).isoformat(),
        "result": "unchanged",
        "snapshot_id": new_id(2),
        "sequence": 2,
    }


def test_a_switch_that_was_cut_off_is_made_up_for(two: Kit) -> None:
    link = two.export_dir / "current"
    link.unlink()
    link.symlink_to(f"snapshots/{new_id(1)}")
    said: list[str] = []
    two.look(9, on_progress=lambda progress: said.append(progress.what))
    assert two.current().manifest.id == new_id(2)
    assert "cut off" in "".join(said)
    assert read_switches(two.export_dir)[-1].why == "completed"


# --- a folder with another name than its manifest says: a copy that was kept, or a snapshot that was renamed


def names(kit: Kit) -> list[str]:
    return [s.folder.name for s in list_snapshots(kit.export_dir).snapshots]


def test_a_copy_whose_original_is_gone_is_no_target(two: Kit) -> None:
    original = two.export_dir / "snapshots" / new_id(1)
    copy = original.rename(original.with_name(f"{new_id(1)}-keep"))
    assert names(two) == [new_id(2)]
    assert f"a copy of {new_id(1)}" in list_snapshots(two.export_dir).unreadable[copy.name].what
    for name in (new_id(1), "1", copy.name):
        with pytest.raises(SnapshotError):
            rollback(two.export_dir, name, now=at(3))
    assert two.current().manifest.id == new_id(2)
    assert read_hold(two.export_dir) is None
    # Left to the operator, who may name it back.
    assert list(prune_now(two.export_dir, 1, 0, BEGIN + timedelta(days=9)).unreadable) == [copy.name]
    copy.rename(original)
    rollback(two.export_dir, new_id(1), now=at(3))
    assert two.current().folder == original


def test_a_copy_beside_its_original_is_not_taken_for_it(two: Kit) -> None:
    for name in (f"{new_id(2)}-keep", "0-keep"):
        shutil.copytree(two.export_dir / "snapshots" / new_id(2), two.export_dir / "snapshots" / name)
    assert names(two) == [new_id(1), new_id(2)]
    assert find_snapshot(two.export_dir, "2").folder.name == new_id(2)
    two.publish(3, {0: range(8)}, keep_snapshots=1, keep_hours=0)
    assert two.publish(4, {0: range(9)}, keep_snapshots=1, keep_hours=0).sequence == 4
    assert (two.export_dir / "snapshots" / "0-keep").is_dir()


def test_current_stays_at_the_newest_snapshot_that_was_renamed(two: Kit) -> None:
    renamed = (two.export_dir / "snapshots" / new_id(2)).rename(two.export_dir / "snapshots" / "mine")
    link = two.export_dir / "current"
    link.unlink()
    link.symlink_to("snapshots/mine")
    two.look(9)
    assert two.current().folder == renamed
    shutil.rmtree(two.export_dir / "snapshots" / new_id(1))
    two.look(10)
    assert two.current().folder == renamed
    assert two.publish(11, {0: range(8)}).sequence == 3
    assert two.current().folder.name == new_id(11)
