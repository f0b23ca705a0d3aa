"""A week of the service in a few minutes: the wall clock of all its processes is put forward by hand."""

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import dagster as dg
import polars as pl
import psutil
import pytest
from dagster import DagsterInstance

from pipelines.errors import ExportError
from pipelines.snapshots.opening import current_snapshot, list_snapshots, published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees
from tests.faults.kit import Operator, fill, small_disk
from tests.faults.shim import Clock
from tests.integration.kit import run_sql
from tests.operating.kit import Hook, webhook
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.ports import free_port
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.extended, pytest.mark.takes(230)]

STEPS, STEP = 14, timedelta(hours=12)
KILLED, FULL = {2, 5, 9, 12}, {7}
KEPT_DAYS = 3
TICK, QUIET_S = timedelta(minutes=1), 5.0
FAILED = dg.DagsterRunStatus.FAILURE
UNDER_WAY = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class Service:
    """`lei-exports ui` with its clock, and what Dagster knows of its runs."""

    def __init__(self, operator: Operator, clock: Clock, process: psutil.Process) -> None:
        self.operator, self.clock, self.process = operator, clock, process
        self.failed: set[str] = set()
        self.scheduled = 0

    def runs(self, *statuses: dg.DagsterRunStatus) -> list[dg.RunRecord]:
        with DagsterInstance.from_config(str(self.operator.home)) as instance:
            return list(instance.get_run_records(dg.RunsFilter(statuses=list(statuses))))

    def live_until(self, condition: Callable[[], bool], seconds: float = 600) -> None:
        """Wait until a condition holds; while no run is under way the clock is put forward from tick to tick.

        Not faster: Dagster's code server ends where, by the clock, no heartbeat came for 30 s.
        """
        until = time.monotonic() + seconds
        quiet_since = time.monotonic()
        while not condition():
            now = time.monotonic()
            assert now < until, f"nothing came of it; runs: {self.describe()}"
            assert self.process.is_running()
            self.failed |= {record.dagster_run.run_id for record in self.runs(FAILED)}
            if self.run_processes():
                quiet_since = now
            elif now - quiet_since > QUIET_S:
                self.clock.put_forward(TICK)
                quiet_since = now
            time.sleep(0.2)

    def describe(self) -> list[tuple[str, str]]:
        return [(record.dagster_run.status.value, str(record.create_timestamp)) for record in self.runs()]

    def run_processes(self) -> list[psutil.Process]:
        """The code server starts a process for each run."""
        found = []
        for process in self.process.children(recursive=True):
            with suppress(psutil.Error):
                if any("spawn_main" in part for part in process.cmdline()):
                    found.append(process)
        return found


@contextmanager
def living_service(database: Database, folder: Path, hook: Hook) -> Iterator[Service]:
    operator, clock = Operator(database, folder), Clock(folder)
    with (folder / "ui.log").open("wb") as log:
        process = operator.start(
            "ui",
            "--port",
            str(free_port()),
            stdout=log.fileno(),
            stderr=log.fileno(),
            **clock.environment,
            EXPORT_DIR=str(folder / "disk" / "exports"),
            ALERT_WEBHOOK_URL=hook.url,
            KEEP_SNAPSHOTS="3",
            SENSOR_PAUSE_MINUTES="1",
            KEEP_RUN_DAYS=str(KEPT_DAYS),
        )
    service = Service(operator, clock, psutil.Process(process.pid))
    children: list[psutil.Process] = []
    try:
        yield service
        children = service.process.children(recursive=True)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(180)
    assert psutil.wait_procs(children, 60)[1] == [], "all of it ends with it"


@pytest.fixture
def source(database: Database) -> Database:
    fill_source(database, *random_rows(9, 300))
    return database


def test_a_week(source: Database, tmp_path: Path) -> None:
    """A source that changes twice a day, killed runs, a full disk: all is told once, and all is well at the end."""
    chance = random.Random(20261127)  # noqa: S311
    export_dir = tmp_path / "disk" / "exports"

    def is_published(step: int) -> bool:
        with suppress(ExportError):
            snapshot = current_snapshot(export_dir)
            if snapshot is not None:
                found = snapshot.scan("domain_exports").select(pl.col("retry_count").max()).collect().item()
                return bool(found == step)
        return False

    with (
        small_disk(tmp_path / "disk", "64m") as disk,
        webhook() as hook,
        living_service(source, tmp_path, hook) as service,
    ):
        # Code server, web server, daemon: Dagster's database is made.
        wait_until(lambda: len(service.process.children()) == 3, 300)
        for step in range(STEPS):
            run_sql(
                source,
                f"UPDATE domains SET retry_count = {step}",
                f"DELETE FROM gleif_candidates WHERE id % 300 = {chance.randrange(300)}",
            )
            failed = len(service.failed)
            if step in FULL:
                fill(disk, free=0)
            service.clock.put_forward(STEP)
            if step in KILLED:
                service.live_until(lambda: bool(service.run_processes()))
                time.sleep(chance.uniform(0, 5))
                for process in service.run_processes():
                    process.kill()
            if step in FULL:
                service.live_until(lambda before=failed: len(service.failed) > before)
                (disk / "ballast").unlink()
            service.live_until(lambda step=step: is_published(step))
        service.live_until(lambda: not service.runs(*UNDER_WAY))

        def posted() -> list[str]:
            return sorted(alert["run_id"] for alert in hook.alerts if alert["kind"] == "failure")

        # Not >=: a run that just failed may be posted before it is counted here.
        service.live_until(lambda: set(posted()) == service.failed)
        assert posted() == sorted(service.failed), "each failure is posted once"
        now = time.time() + service.clock.ahead.total_seconds()
        kept = service.runs()
        assert all(now - record.create_timestamp.timestamp() < (KEPT_DAYS + 1) * 86400 for record in kept)
        snapshot = published_snapshot(export_dir)
        verify_snapshot(snapshot)
        assert_agrees(source, snapshot)
        assert len(list_snapshots(export_dir).snapshots) <= 6
        assert len(list((export_dir / "staging").glob("*/"))) <= 1
        assert len(list(export_dir.glob(".running/*.lock"))) <= len(FULL) + len(KILLED), "a day's at most stay"
