"""A run that is killed at any rename, link switch or new folder: `current` verifies, the next run needs no help."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.snapshots.lookup import newest_snapshot
from pipelines.snapshots.opening import current_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.forking import run_forked
from tests.publish.kit import Kit, new_id

pytestmark = pytest.mark.standard

# Publishes snapshot 3, and dies right before it changes for the Nth time what a reader or the next run could see.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.publish.kit import Kit, new_id
kit, number, calls = Kit(Path(sys.argv[1])), int(sys.argv[2]), []
segments = {0: range(5), 1: range(100, 111)}
staged = kit.stage_changes(3, segments) if "changes" in sys.argv else {"built": kit.build(new_id(3), segments)}
rmdir = os.rmdir
def counted(call):
    def wrapper(*arguments, **options):
        if call is not rmdir or rmdir not in calls:  # of the folders of a deletion the first
            calls.append(call)
        if len(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*arguments, **options)
    return wrapper
for name in ("replace", "rename", "symlink", "rmdir"):
    setattr(os, name, counted(getattr(os, name)))
kit.publish(3, **staged, keep_snapshots=1, keep_hours=0)
print("not killed")
"""
# Dies while the writer's process is at work: some time after the message that stands before it.
KILLED_AT_WORK = """
import os, signal, sys, threading
from pathlib import Path
from tests.publish.kit import Kit, new_id
def kill_soon(progress):
    if "linked" in progress.what:
        threading.Timer(float(sys.argv[2]), os.kill, (os.getpid(), signal.SIGKILL)).start()
kit = Kit(Path(sys.argv[1]))
if "changes" in sys.argv:
    changes = {0: range(100), 1: range(100, 200)}
    kit.publish_changes(3, changes, 5000, on_progress=kill_soon, in_process=False)
else:
    kit.publish(3, {0: range(3000)}, on_progress=kill_soon, in_process=False)
"""
SIGKILLED = -9
# The switch, what is written down about it, and the deletion of a snapshot of a few folders.
FEWEST_CALLS = 6


@pytest.fixture(scope="module")
def twice_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """Two snapshots, 0 and 1; when 3 is published, 0 is no reader's any more and goes."""
    kit = Kit(tmp_path_factory.mktemp("twice"))
    kit.publish(0)
    kit.publish(1)
    return kit


def kill_at_each_call(kit: Kit, root: Path, *arguments: str) -> Iterator[Kit]:
    """The export folder as it is after a publish that was killed at its first call, at its second, and so on."""
    for number in itertools.count(1):
        killed = kit.copy_to(root / str(number))
        done = run_forked(KILLED, killed.root, number, *arguments, status=None)
        if "not killed" in done.stdout:
            assert number > FEWEST_CALLS
            return
        assert done.returncode == SIGKILLED, done.stderr
        yield killed


@pytest.mark.parametrize("what", ["all", pytest.param("changes", marks=pytest.mark.extended)])
def test_killed_anywhere_the_old_or_the_new_snapshot_is_current(twice_to_copy: Kit, tmp_path: Path, what: str) -> None:
    current = []
    for killed in kill_at_each_call(twice_to_copy, tmp_path, what):
        current.append(killed.current().manifest.id)
        verify_snapshot(killed.current())
        newest = newest_snapshot(killed.export_dir)
        assert newest is not None
        verify_snapshot(newest)
        if what == "changes":  # the newest is gone on from, whether or not it is current
            assert killed.publish_changes(4, {0: range(9)}, 5).base_snapshot == newest.manifest.id
            verify_snapshot(killed.current())
        else:
            assert_the_next_run_succeeds(killed)
    switched_at = current.index(new_id(3))
    assert current == [new_id(1)] * switched_at + [new_id(3)] * (len(current) - switched_at)
    assert 0 < switched_at < len(current) - 1, "it goes on after the switch"


def test_the_first_publish_of_all_is_killed(kit: Kit, tmp_path: Path) -> None:
    kit.export_dir.mkdir()
    current = []
    for killed in kill_at_each_call(kit, tmp_path / "killed"):
        current.append(current_snapshot(killed.export_dir) is not None)
        assert_the_next_run_succeeds(killed)
        if current[-1]:
            break
    assert current == [False] * (len(current) - 1) + [True]


@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_killed_while_the_database_is_built(published: Kit, seconds: float) -> None:
    run_forked(KILLED_AT_WORK, published.root, seconds, status=SIGKILLED)
    assert published.current().manifest.id == new_id(1)
    assert_the_next_run_succeeds(published)


def test_killed_while_a_copy_is_changed(published: Kit) -> None:
    run_forked(KILLED_AT_WORK, published.root, 0.3, "changes", status=SIGKILLED)
    assert published.current().manifest.id == new_id(1)
    verify_snapshot(published.current())
    assert_the_next_run_succeeds(published)


def assert_the_next_run_succeeds(kit: Kit) -> None:
    manifest = kit.publish(4, lock_wait_seconds=5)
    assert kit.current().manifest == manifest
    verify_snapshot(kit.current())
    left = sorted(path.name for path in kit.export_dir.rglob(".*"))
    assert left == [".digests.json", ".publish.lock", ".run.lock"]
    assert [path.name for path in Path(kit.export_dir).iterdir() if path.is_symlink()] == ["current"]
