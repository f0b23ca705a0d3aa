"""The rename of `current` is the commit point: interrupts and failures come before it or after it, and say which."""

import errno
import json
import resource
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import PublishError, SnapshotError
from pipelines.progress import Progress
from pipelines.snapshots import switch
from pipelines.snapshots.history import read_hold
from pipelines.snapshots.lookup import wait_for_snapshot
from pipelines.snapshots.opening import list_snapshots
from pipelines.snapshots.rollback import release_rollback, rollback
from tests.forking import run_forked
from tests.integration.kit import Background
from tests.publish.kit import BEGIN, Kit, new_id

pytestmark = pytest.mark.standard

# Does the same again and again on copies of a folder, and gets Ctrl-C before and after each call that changes a name.
INTERRUPTED = """
import json, os, signal, sys
from pathlib import Path
from pipelines.snapshots.rollback import release_rollback, rollback
from pipelines.snapshots.history import read_hold
from pipelines.snapshots.verification import verify_snapshot
from tests.publish.kit import BEGIN, Kit, new_id
origin, what = Kit(Path(sys.argv[1])), sys.argv[2]
real = {name: getattr(os, name) for name in ("replace", "rename", "symlink", *["unlink"] * (what == "release"))}
def do(kit, on_progress=lambda _: None):
    if what == "publish":
        kit.publish(3, {0: range(5)}, on_progress=on_progress)
    elif what == "rollback":
        rollback(kit.export_dir, new_id(1), now=lambda: BEGIN)
    else:
        release_rollback(kit.export_dir, now=lambda: BEGIN)
def attempt(number, when):
    kit, calls, published = origin.copy_to(origin.root / f"{number}-{when}"), [], []
    def counted(name):
        def wrapper(*arguments, **options):
            calls.append(name)
            here = len(calls)
            if here == number and when == "before":
                os.kill(os.getpid(), signal.SIGINT)
            result = real[name](*arguments, **options)
            if here == number and when == "after":
                os.kill(os.getpid(), signal.SIGINT)
            return result
        return wrapper
    for name in real:
        setattr(os, name, counted(name))
    ended = "done"
    try:
        do(kit, lambda progress: published.append(progress.published))
    except KeyboardInterrupt:
        ended = "interrupted"
    for name, call in real.items():
        setattr(os, name, call)
    verify_snapshot(kit.current())
    return {
        "ended": ended, "number": number, "when": when, "calls": calls, "current": kit.current().manifest.id,
        "published": [each for each in published if each], "is_held": read_hold(kit.export_dir) is not None,
        "hidden": sorted(
            {path.name for path in kit.export_dir.rglob(".*")} - {".digests.json", ".publish.lock", ".run.lock"}
        ),
    }
signal.signal(signal.SIGINT, signal.default_int_handler)
calls = attempt(0, "never")["calls"]
results = [attempt(number, when) for number in range(1, len(calls) + 1) for when in ("before", "after")]
print(json.dumps([result for result in results if result["ended"] == "interrupted"]))
"""


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """As on a disk that is full for larger files: the kernel refuses to write beyond this."""
    former = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, former)


def interrupted(kit: Kit, what: str) -> list[dict[str, Any]]:
    """What became of each try that was interrupted."""
    results: list[dict[str, Any]] = json.loads(run_forked(INTERRUPTED, kit.root, what).stdout)
    assert [result for result in results if result["hidden"]] == []
    return results


def test_an_interrupted_publish_tells_the_truth(two: Kit) -> None:
    """What the run said of its switch is what is on disk, wherever the interrupt came."""
    results = interrupted(two, "publish")
    for result in results:
        assert result["published"] == ([] if result["current"] == new_id(2) else [new_id(3)]), result
    assert {bool(result["published"]) for result in results} == {True, False}, "before and after the commit point"


def test_an_interrupted_rollback_is_made_whole_or_not_at_all(two: Kit) -> None:
    states = {(result["is_held"], result["current"]) for result in interrupted(two, "rollback")}
    assert (True, new_id(1)) in states
    assert states <= {(True, new_id(1)), (False, new_id(2))}


def test_an_interrupted_release_is_made_whole_or_not_at_all(two: Kit) -> None:
    rollback(two.export_dir, new_id(1), now=lambda: BEGIN)
    states = {(result["is_held"], result["current"]) for result in interrupted(two, "release")}
    assert (False, new_id(2)) in states
    assert states <= {(False, new_id(2)), (True, new_id(1))}


def test_a_rename_that_the_disk_does_not_confirm_is_published_all_the_same(
    published: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error of a disk at that very moment can't be had otherwise."""
    real = switch.sync_folder

    def fail(path: Path) -> None:
        if path == published.export_dir:
            raise OSError(errno.EIO, "Input/output error")
        real(path)

    monkeypatch.setattr(switch, "sync_folder", fail)
    heard: list[Progress] = []
    manifest = published.publish(2, on_progress=heard.append)
    assert published.current().manifest == manifest
    assert [progress.published for progress in heard if progress.published] == [new_id(2)]
    assert any("did not confirm" in progress.what for progress in heard)


def test_who_hears_of_the_switch_can_not_undo_it(published: Kit) -> None:
    def fail(progress: Progress) -> None:
        if progress.published or "deleted by retention" in progress.what:
            raise OSError(errno.ENOSPC, "No space left on device")

    published.publish(2)
    manifest = published.publish(4, on_progress=fail, keep_snapshots=1, keep_hours=0)
    assert published.current().manifest == manifest
    assert [s.manifest.id for s in list_snapshots(published.export_dir).snapshots] == [new_id(2), new_id(4)]


def test_a_switch_that_fails_leaves_no_snapshot_that_the_next_run_would_switch_to(published: Kit) -> None:
    """switches.jsonl has no room for another line; all else has."""
    records = published.export_dir / "switches.jsonl"
    records.write_bytes(records.read_bytes() + b" " * 20_000_000 + b"\n")
    heard: list[Progress] = []
    with files_of_at_most(records.stat().st_size), pytest.raises(PublishError, match="could not be written"):
        published.publish(2, on_progress=heard.append)
    assert [progress for progress in heard if progress.published] == []
    assert published.current().manifest.id == new_id(1)
    assert [path.name for path in (published.export_dir / "snapshots").iterdir()] == [new_id(1)]
    assert published.look(3) == published.current()


@pytest.mark.parametrize("what", ["rollback", "release"])
def test_a_rollback_or_release_that_fails_changes_nothing(two: Kit, what: str) -> None:
    if what == "release":
        rollback(two.export_dir, new_id(1), now=lambda: BEGIN)
    before, hold = two.current().manifest.id, read_hold(two.export_dir)
    do = partial(release_rollback) if what == "release" else partial(rollback, snapshot_id=new_id(1))
    with files_of_at_most(200), pytest.raises(PublishError, match="could not be"):
        do(two.export_dir, now=lambda: BEGIN)
    two.look(4)
    assert two.current().manifest.id == before, "the next run does not make that switch either"
    assert read_hold(two.export_dir) == hold


# --- numbers only grow


def damage_newest(kit: Kit) -> None:
    manifest = kit.current().folder / "manifest.json"
    manifest.chmod(0o644)
    manifest.write_bytes(manifest.read_bytes()[:200])


def restore_the_first(kit: Kit) -> None:
    """As docs/operators.md says, after the disk was lost: one snapshot, its link, the record of switches."""
    shutil.rmtree(kit.export_dir / "snapshots" / new_id(2))
    (kit.export_dir / "current").unlink()
    (kit.export_dir / "current").symlink_to(f"snapshots/{new_id(1)}")
    (kit.export_dir / "last_checked.json").unlink()


def lose_the_record_of_switches(kit: Kit) -> None:
    restore_the_first(kit)
    kit.look(3)
    (kit.export_dir / "switches.jsonl").rename(kit.root / "kept")
    look = json.loads((kit.export_dir / "last_checked.json").read_text())
    (kit.export_dir / "last_checked.json").write_text(json.dumps({**look, "sequence": 2}))


@pytest.mark.parametrize("loss", [damage_newest, restore_the_first, lose_the_record_of_switches])
def test_a_number_is_never_given_twice(two: Kit, loss: Callable[[Kit], None]) -> None:
    loss(two)
    manifest = two.publish(4, {0: range(9)})
    assert manifest.sequence == 3
    assert wait_for_snapshot(two.export_dir, 2, 0) == two.current()


def test_a_number_that_was_never_given_is_refused(two: Kit) -> None:
    with pytest.raises(SnapshotError, match="never had a snapshot of sequence 3") as caught:
        wait_for_snapshot(two.export_dir, 3, 0)
    assert caught.value.expected == "at most 2"


def test_waiting_goes_on_while_the_current_snapshot_can_not_be_read(two: Kit) -> None:
    damage_newest(two)
    with pytest.raises(SnapshotError, match=r"manifest\.json"):
        wait_for_snapshot(two.export_dir, new_id(2), 0.01)
    waiter = Background(lambda: wait_for_snapshot(two.export_dir, new_id(2), 20))
    manifest = two.publish(3, {0: range(8)})
    assert waiter.result().manifest == manifest
