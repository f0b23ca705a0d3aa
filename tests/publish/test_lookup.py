"""Finding a snapshot, and waiting for the next one."""

import threading
import time
from datetime import timedelta

import pytest

from pipelines.errors import SnapshotError
from pipelines.snapshots.lookup import find_snapshot, newest_snapshot, sequence_of, wait_for_snapshot
from pipelines.snapshots.retention import prune_now
from pipelines.snapshots.rollback import release_rollback, rollback
from tests.publish.kit import BEGIN, Kit, at, new_id

pytestmark = pytest.mark.standard


def test_snapshots_are_found_by_id_and_number(two: Kit) -> None:
    assert find_snapshot(two.export_dir, "1").manifest.id == new_id(1)
    assert find_snapshot(two.export_dir, new_id(2)).manifest.sequence == 2
    with pytest.raises(SnapshotError) as caught:
        find_snapshot(two.export_dir, new_id(2)[:-1])
    assert caught.value.expected.startswith(f"one of these: {new_id(2)}")
    (two.export_dir / "snapshots" / new_id(1) / "manifest.json").unlink()
    with pytest.raises(SnapshotError, match=r"manifest\.json can't be read"):
        find_snapshot(two.export_dir, new_id(1))
    newest = newest_snapshot(two.export_dir)
    assert newest is not None
    assert newest.manifest.id == new_id(2)


def test_the_number_of_a_deleted_snapshot_is_still_known(two: Kit) -> None:
    prune_now(two.export_dir, 1, 0, BEGIN + timedelta(days=1))
    assert sequence_of(two.export_dir, new_id(1)) == 1
    snapshot = wait_for_snapshot(two.export_dir, new_id(1), 0)
    assert snapshot is not None
    assert snapshot.manifest.id == new_id(2)


def test_waiting_ends_with_the_switch(two: Kit) -> None:
    assert wait_for_snapshot(two.export_dir, 2, 0.05) is None
    publisher = threading.Timer(0.3, lambda: two.publish(3, {0: range(8)}))
    publisher.start()
    started = time.monotonic()
    snapshot = wait_for_snapshot(two.export_dir, new_id(2), 120)
    publisher.join()
    assert snapshot is not None
    assert snapshot.manifest.id == new_id(3)
    assert time.monotonic() - started < 100


def test_a_rollback_is_nothing_new_to_wait_for(two: Kit) -> None:
    rollback(two.export_dir, new_id(1), now=at(3))
    two.publish(4, {0: range(8)})
    assert wait_for_snapshot(two.export_dir, 2, 0) is None
    release_rollback(two.export_dir, now=at(5))
    assert wait_for_snapshot(two.export_dir, 2, 0) == two.current()
