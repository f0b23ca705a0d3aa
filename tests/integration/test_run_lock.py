"""Runs at once: one after the other, in threads and in processes; a run that fails keeps nobody out (DESIGN 3)."""

import multiprocessing
import threading
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pipelines.errors import BusyError, ExportError
from pipelines.export import run_export
from pipelines.progress import Progress
from pipelines.settings import Settings
from pipelines.snapshots.opening import list_snapshots
from pipelines.system.run_lock import hold_run_lock
from tests import killing  # noqa: F401  preloads the machine in the fork server
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.kit import Background
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.standard]

_CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    fill_source(database, *random_rows(11, 300))
    return settings_for(database, tmp_path, segment_size=100)


def _export(settings: Settings, pipe: Connection) -> None:
    pipe.send(export(settings, full_refresh=True).manifest.id)


def test_runs_at_once_publish_one_after_the_other(database: Database, settings: Settings) -> None:
    runs = []
    for _ in range(3):
        ours, theirs = _CONTEXT.Pipe()
        process = _CONTEXT.Process(target=_export, args=(settings, theirs))
        process.start()
        runs.append((process, ours))
    ids = set()
    for process, ours in runs:
        assert ours.poll(180)
        ids.add(ours.recv())
        process.join()
        assert process.exitcode == 0
    assert len(ids) == len(runs)
    snapshot = export(settings)
    assert snapshot.manifest.sequence == len(runs), "nothing changed since the last of them"
    assert_agrees(database, snapshot)


def test_threads_of_one_process_publish_one_after_the_other(database: Database, settings: Settings) -> None:
    going_on: set[int] = set()
    most: list[int] = []

    def run(number: int) -> str:
        def hear(progress: Progress) -> None:
            if progress.stage != "wait":
                going_on.add(number)
                most.append(len(going_on))
            if progress.published:
                going_on.discard(number)

        publication = run_export(settings, on_progress=hear, full_refresh=True)
        going_on.discard(number)
        assert publication is not None
        return publication.manifest.id

    threads = [Background(lambda number=number: run(number)) for number in range(3)]
    assert len({thread.result() for thread in threads}) == 3
    assert max(most) == 1
    assert [s.manifest.sequence for s in list_snapshots(settings.export_dir).snapshots] == [1, 2, 3]
    assert_agrees(database, export(settings))


@pytest.mark.parametrize("stage", ["read", "build", "summarize", "publish"])
def test_a_run_that_fails_at_any_step_keeps_nobody_out_and_leaves_no_thread(settings: Settings, stage: str) -> None:
    """What hears of progress is the embedder's own code: here it fails, in whatever thread it is called."""

    class OurOwnError(Exception):
        pass

    def fail(progress: Progress) -> None:
        if progress.stage == stage:
            raise OurOwnError

    with pytest.raises((OurOwnError, ExportError)) as caught:
        run_export(settings, on_progress=fail)
    # The traceback is alive here, and with it every frame of the run.
    assert caught.tb is not None
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("export-")] == []
    with hold_run_lock(settings.export_dir, wait_seconds=0):
        pass
    assert export(settings).manifest.sequence == 1


def test_a_run_that_waits_too_long_says_for_whom(settings: Settings) -> None:
    heard: list[Progress] = []
    with hold_run_lock(settings.export_dir), pytest.raises(BusyError, match="process"):
        run_export(settings, on_progress=heard.append, wait_seconds=0.3)
    assert [progress.stage for progress in heard] == ["wait"]
