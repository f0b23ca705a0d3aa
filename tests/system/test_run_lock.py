"""The lock of a run: threads and processes wait alike, it is given back at every end, a second host is noticed."""

import os
import threading
import time
from pathlib import Path

import pytest

from pipelines.errors import BusyError, LockLostError, SettingsError
from pipelines.system.file_lock import Holder
from pipelines.system.run_lock import RUN_LOCK, hold_run_lock
from tests.faults.kit import small_disk
from tests.system.kit import held_by_another_process, library_without_flock

pytestmark = pytest.mark.fast

DAY_S = 24 * 3600


def test_another_process_is_refused_when_the_wait_is_over(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path) as other:
        with (
            pytest.raises(BusyError, match=f"process {other.pid} on host {os.uname().nodename}, since 20"),
            hold_run_lock(tmp_path, wait_seconds=0.2),
        ):
            pass
        other.kill()
        other.wait()
        with hold_run_lock(tmp_path, wait_seconds=5):
            pass


def test_a_second_process_waits_and_says_so_once(tmp_path: Path) -> None:
    heard: list[Holder | None] = []
    with held_by_another_process(tmp_path) as other:

        def hear(holder: Holder | None) -> None:
            heard.append(holder)
            assert other.stdin is not None
            other.stdin.write("end\n")
            other.stdin.flush()

        with hold_run_lock(tmp_path, hear, wait_seconds=30):
            pass
    assert [holder.process for holder in heard if holder] == [other.pid]


def test_a_second_thread_waits_like_another_process(tmp_path: Path) -> None:
    waits, entered = threading.Event(), threading.Event()

    def second() -> None:
        with hold_run_lock(tmp_path, lambda _: waits.set(), wait_seconds=30):
            entered.set()

    thread = threading.Thread(target=second)
    with hold_run_lock(tmp_path):
        thread.start()
        assert waits.wait(30)
        assert not entered.is_set()
    thread.join(30)
    assert entered.is_set()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit, GeneratorExit])
def test_whatever_ends_the_block_gives_it_back(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), hold_run_lock(tmp_path):
        raise error
    with hold_run_lock(tmp_path, wait_seconds=0):
        pass


@pytest.mark.parametrize("place", ["file", "file/exports"])
def test_a_folder_that_can_not_be_made_is_a_clear_error(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="EXPORT_DIR"), hold_run_lock(tmp_path / place):
        pass


def test_a_full_disk_does_not_keep_a_command_from_the_lock(tmp_path: Path) -> None:
    """Else nothing could be pruned there."""
    with small_disk(tmp_path, "64k"):
        with pytest.raises(OSError, match="No space"):
            (tmp_path / "ballast").write_bytes(bytes(10**6))
        with hold_run_lock(tmp_path) as lock:
            lock.require_held()
            with pytest.raises(BusyError), hold_run_lock(tmp_path, wait_seconds=0):
                pass
        (tmp_path / "ballast").unlink()
        with hold_run_lock(tmp_path) as lock:
            lock.require_held()


# --- where flock does nothing


@pytest.fixture(scope="module")
def no_flock(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment of a process for which flock does nothing."""
    return {"LD_PRELOAD": str(library_without_flock(tmp_path_factory.mktemp("noflock")))}


def test_who_loses_the_lock_is_told_who_has_it(tmp_path: Path, no_flock: dict[str, str]) -> None:
    with hold_run_lock(tmp_path) as lock:
        lock.require_held()
        with held_by_another_process(tmp_path, **no_flock) as other, pytest.raises(LockLostError) as caught:
            lock.require_held()
        assert f"process {other.pid}" in caught.value.found
        assert "flock" in caught.value.expected
        with pytest.raises(LockLostError), lock.guard():
            pytest.fail("a step began without the lock")


def test_a_step_that_fails_because_the_lock_is_lost_says_that(tmp_path: Path, no_flock: dict[str, str]) -> None:
    with hold_run_lock(tmp_path) as lock:
        with pytest.raises(FileNotFoundError), lock.guard():
            (tmp_path / "gone").read_bytes()
        with pytest.raises(LockLostError), lock.guard(), held_by_another_process(tmp_path, **no_flock):
            (tmp_path / "gone").read_bytes()


def test_a_lock_file_that_is_removed_is_a_lost_lock(tmp_path: Path) -> None:
    with hold_run_lock(tmp_path) as lock:
        (tmp_path / RUN_LOCK).unlink()
        with pytest.raises(LockLostError, match="removed"):
            lock.require_held()


# --- folders belong to a run


def test_a_claimed_folder_of_a_run_that_died_is_free(tmp_path: Path) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    with held_by_another_process(tmp_path, folder) as other:
        assert len(list(tmp_path.glob(".one.*.claim"))) == 1
        other.kill()
        other.wait()
        with hold_run_lock(tmp_path, wait_seconds=5) as lock:
            assert lock.is_free(folder)
            lock.claim(folder)
            assert [claim.name for claim in tmp_path.glob(".one.*")] == [f".one.{lock.owner}.claim"]
    assert list(tmp_path.glob(".one.*")) == []


@pytest.mark.parametrize("where", ["where flock does nothing", "on another host"])
def test_a_folder_of_a_run_that_may_be_alive_is_not_free(
    tmp_path: Path, no_flock: dict[str, str], where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "one"
    folder.mkdir()
    if where == "on another host":
        monkeypatch.setattr("pipelines.system.file_lock._BOOT_ID", tmp_path / "no such file")
    else:
        monkeypatch.setattr("fcntl.flock", lambda *_: None)
    with held_by_another_process(tmp_path, folder, **no_flock), hold_run_lock(tmp_path) as lock:
        assert not lock.is_free(folder)
        with pytest.raises(BusyError, match="one"):
            lock.claim(folder)
        (claim,) = tmp_path.glob(".one.*.claim")
        for path in (claim, folder):
            os.utime(path, (time.time() - DAY_S - 60, time.time() - DAY_S - 60))
        assert lock.is_free(folder), "nobody wrote there for a day"
        (folder / "file").touch()
        assert not lock.is_free(folder)
