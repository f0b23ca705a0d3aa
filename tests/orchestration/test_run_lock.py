"""The lock of a run in Dagster: held from the first step to the end of the run, whatever ends it."""

# ruff: noqa: F811  a fixture that is imported is an argument of each test

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest

from assets.defs.resources import listening
from pipelines.errors import BusyError
from pipelines.export import run_export
from pipelines.progress import Progress
from pipelines.snapshots.opening import list_snapshots
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.file_lock import read_holder
from pipelines.system.run_lock import RUN_LOCK, hold_run_lock
from tests.exporting import settings_for
from tests.integration.kit import Background
from tests.orchestration.test_job import Operator, operator  # noqa: F401  a fixture
from tests.waiting import wait_until

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.standard]


def is_free(export_dir: Path) -> bool:
    try:
        with hold_run_lock(export_dir, wait_seconds=0):
            return True
    except BusyError:
        return False


def run_and_hear(operator: Operator, hear: Callable[[Progress], None], *keys: str) -> dg.ExecuteInProcessResult:
    with listening(hear):
        return operator.run(*keys)


def test_the_whole_run_is_one_hold(operator: Operator) -> None:
    tokens: dict[str, set[str]] = {}

    def hear(progress: Progress) -> None:
        assert not is_free(operator.export_dir), progress
        holder = read_holder(operator.export_dir / RUN_LOCK)
        assert holder is not None
        tokens.setdefault(progress.stage, set()).add(holder.token)

    assert run_and_hear(operator, hear).success
    assert {"read", "build", "summarize", "publish"} <= tokens.keys()
    assert len(set.union(*tokens.values())) == 1
    assert is_free(operator.export_dir)


@pytest.mark.parametrize("stage", ["read", "publish"])
def test_a_run_that_fails_in_any_step_gives_it_back(operator: Operator, stage: str) -> None:
    class OurOwnError(Exception):
        pass

    def fail(progress: Progress) -> None:
        if progress.stage == stage:
            raise OurOwnError

    result = run_and_hear(operator, fail)
    assert not result.success
    assert is_free(operator.export_dir)
    assert list(operator.export_dir.glob("staging/.*")) == []


def test_a_run_that_is_terminated_gives_it_back(operator: Operator) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def terminate(progress: Progress) -> None:
        if progress.stage == "build":
            os.kill(os.getpid(), signal.SIGTERM)  # what "terminate" in the UI sends

    try:
        result = run_and_hear(operator, terminate)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not result.success
    assert is_free(operator.export_dir)
    assert not (operator.export_dir / "current").exists()


def test_an_asset_alone_holds_it_for_itself(operator: Operator) -> None:
    operator.export()
    held: list[bool] = []
    result = run_and_hear(
        operator, lambda _: held.append(not is_free(operator.export_dir)), "exports/candidate_exports"
    )
    assert result.success
    assert held
    assert all(held)
    assert is_free(operator.export_dir)


def test_it_waits_for_a_run_in_another_thread_and_says_so(operator: Operator) -> None:
    """Not for a second Dagster run: Dagster itself stands still where two begin in threads of one process."""
    settings = settings_for(operator.database, operator.export_dir)
    begun, heard = threading.Event(), []

    def slow(progress: Progress) -> None:
        begun.set()
        if progress.stage == "publish":
            wait_until(lambda: heard)

    def hear(progress: Progress) -> None:
        heard.append(progress.stage)

    other = Background(lambda: run_export(settings, on_progress=slow))
    assert begun.wait(120)
    result = run_and_hear(operator, hear)
    assert result.success
    assert other.result() is not None
    assert heard[0] == "wait"
    assert [s.manifest.sequence for s in list_snapshots(operator.export_dir).snapshots] == [1]
    verify_snapshot(operator.current())
