"""A run that is killed at any rename, link switch or new folder: `current` verifies, the next run needs no help."""

from pathlib import Path

import pytest

from pipelines.reading.finding import newest_snapshot
from pipelines.reading.snapshots import current_snapshot
from pipelines.reading.verification import verify_snapshot
from tests.publish.kit import TABLES, Kit, in_process, new_id

pytestmark = pytest.mark.standard

# Counts every call that changes what a reader or the next run could see, and dies before or after number N of them.
KILLED = """
import os, signal, sys
from pathlib import Path
from tests.publish.kit import Kit, new_id
kit, number, when, calls = Kit(Path(sys.argv[1])), int(sys.argv[2]), sys.argv[3], []
segments = {0: range(5), 1: range(100, 111)}
staged = kit.stage_changes(2, segments) if "changes" in sys.argv else {"built": kit.build(new_id(2), segments)}
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
for name in ("replace", "rename", "symlink", "rmdir"):
    setattr(os, name, counted(getattr(os, name)))
kit.publish(2, **staged, keep_snapshots=1, keep_hours=0)
print(" ".join(calls))
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
    kit.publish_changes(2, {0: range(100), 1: range(100, 200)}, 5000, on_progress=kill_soon)
else:
    kit.publish(2, {0: range(3000)}, on_progress=kill_soon)
"""
SIGKILLED = -9
# manifest.json, the folder's name, the link, `current`, last_checked.json, `.deleting-`, and the deletion's folders.
CALLS = ["replace", "rename", "symlink", "replace", "replace", "rename", *["rmdir"] * (1 + len(TABLES))]


def test_the_calls_are_those_that_the_next_test_kills_at(published: Kit) -> None:
    assert in_process(KILLED, published.root, 0, "never").stdout.split() == CALLS


@pytest.mark.parametrize(("number", "when"), [(n, when) for n in range(1, 8) for when in ("before", "after")], ids=str)
def test_killed_at_a_rename(published: Kit, number: int, when: str) -> None:
    in_process(KILLED, published.root, number, when, status=SIGKILLED)
    switched = number > 4 or (number == 4 and when == "after")
    assert published.current().manifest.id == new_id(2 if switched else 1)
    verify_snapshot(published.current())
    assert_the_next_run_succeeds(published)


@pytest.mark.parametrize("number", [1, 2, 4], ids=str)
def test_the_first_publish_of_all_is_killed(kit: Kit, number: int) -> None:
    in_process(KILLED, kit.root, number, "before", status=SIGKILLED)
    assert current_snapshot(kit.export_dir) is None
    assert_the_next_run_succeeds(kit)


@pytest.mark.parametrize("seconds", [0.05, 0.2])
def test_killed_while_the_database_is_built(published: Kit, seconds: float) -> None:
    in_process(KILLED_AT_WORK, published.root, seconds, status=SIGKILLED)
    assert published.current().manifest.id == new_id(1)
    assert_the_next_run_succeeds(published)


@pytest.mark.parametrize(("number", "when"), [(2, "before"), (2, "after"), (4, "after"), (6, "before")], ids=str)
def test_a_run_that_changes_a_copy_is_killed(published: Kit, number: int, when: str) -> None:
    published.edit_manifest(rebuilt_database_bytes=100_000_000)
    in_process(KILLED, published.root, number, when, "changes", status=SIGKILLED)
    verify_snapshot(published.current())
    is_built = (number, when) != (2, "before")
    newest = newest_snapshot(published.export_dir)
    assert newest is not None
    assert newest.manifest.id == new_id(2 if is_built else 1)
    verify_snapshot(newest)
    said: list[str] = []
    manifest = published.publish_changes(3, {0: range(9)}, 5, on_progress=lambda progress: said.append(progress.what))
    assert not [what for what in said if "anew" in what]
    assert manifest.base_snapshot == newest.manifest.id
    verify_snapshot(published.current())


def test_killed_while_a_copy_is_changed(published: Kit) -> None:
    in_process(KILLED_AT_WORK, published.root, 0.3, "changes", status=SIGKILLED)
    assert published.current().manifest.id == new_id(1)
    verify_snapshot(published.current())
    assert_the_next_run_succeeds(published)


def assert_the_next_run_succeeds(kit: Kit) -> None:
    manifest = kit.publish(3, lock_wait_seconds=5)
    assert kit.current().manifest == manifest
    assert manifest.sequence in {1, 2, 3}
    verify_snapshot(kit.current())
    left = sorted(path.name for path in kit.export_dir.rglob(".*"))
    assert left == [".publish.lock", ".run.lock"]
    assert [path.name for path in Path(kit.export_dir).iterdir() if path.is_symlink()] == ["current"]
