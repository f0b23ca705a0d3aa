"""A browser, and the server that `make ui` starts.

Chromium is Debian's (`apt-get install chromium`); Playwright only drives it. SCREENSHOTS=<folder> keeps what was seen.
"""

import os
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from tests.forking import LEI_EXPORTS
from tests.install.kit import ask_ui
from tests.oracle.postgres import Cluster, Database
from tests.ports import free_port

PATIENCE_S = 300
PATIENCE_MS = 180_000
_REPOSITORY = {"repositoryName": "__repository__", "repositoryLocationName": "lei-exports"}


def find_chromium() -> str:
    """Path of Chromium; without it the test is skipped."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        path = shutil.which(name)
        if path is not None:
            return path
    pytest.skip("no Chromium (Debian: apt-get install chromium)")


@contextmanager
def open_browser(*options: str) -> Iterator[Browser]:
    """Headless, as any user: its sandbox is off, because root may not use it; it opens our own pages only."""
    path = find_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", *options])
        try:
            yield browser
        finally:
            browser.close()


def keep_screenshot(page: Page, name: str, settle_ms: int = 1000, **options: Any) -> None:
    """Write `<name>.png` to the folder SCREENSHOTS, where that is set, once the page has come to rest."""
    folder = os.environ.get("SCREENSHOTS")
    if folder:
        page.wait_for_timeout(settle_ms)
        page.screenshot(path=Path(folder) / f"{name}.png", **options)


@dataclass
class Server:
    """The Dagster UI of an export folder.

    Attributes:
        url: Its address.
        export_dir: Where it publishes.
        log: What it prints.
        process: It.
    """

    url: str
    export_dir: Path
    log: Path
    process: "subprocess.Popen[bytes]"

    def ask(self, query: str, **variables: Any) -> Any:
        """Data of a GraphQL query."""
        return ask_ui(self.url, query, **variables)

    def runs(self) -> list[tuple[str, str]]:
        """Id and status of each run, newest first."""
        found = self.ask("{ runsOrError { ... on Runs { results { runId status } } } }")
        return [(run["runId"], run["status"]) for run in found["runsOrError"]["results"]]

    def wait_for_run(self, number: int) -> tuple[str, str]:
        """Id and status of the run with this number, the first is 1, once it has ended."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            runs = self.runs()
            if len(runs) >= number and runs[0][1] in {"SUCCESS", "FAILURE", "CANCELED"}:
                assert len(runs) == number, f"{len(runs)} runs, of which {number} were asked for"
                return runs[0]
            time.sleep(0.3)
        pytest.fail(f"run {number} did not end: {self.runs()}")

    def launch(self, job: str) -> str:
        """Id of a new run of a job; asked for until the code is there to run it."""
        result = "... on LaunchRunSuccess { run { runId } }"
        mutation = f"mutation($p: ExecutionParams!) {{ launchRun(executionParams: $p) {{ {result} }} }}"
        params = {
            "selector": {**_REPOSITORY, "pipelineName": job},
            "mode": "default",
            "runConfigData": "{}",
        }
        deadline = time.monotonic() + PATIENCE_S
        while True:
            with suppress(urllib.error.HTTPError, AssertionError):
                launched = self.ask(mutation, p=params)["launchRun"]
                if "run" in launched:
                    return str(launched["run"]["runId"])
            assert time.monotonic() < deadline, self.log.read_text()[-3000:]
            time.sleep(0.3)

    def wait_for_run_of(self, job: str) -> str:
        """Launch a run of a job; its status when it has ended."""
        number = len(self.runs()) + 1
        self.launch(job)
        return self.wait_for_run(number)[1]

    def stop_schedule(self) -> None:
        """Turn the daily schedule off: at 05:00 UTC it would start a run that no test asked for."""
        selector = {**_REPOSITORY, "scheduleName": "daily_export"}
        query = "query($s: ScheduleSelector!) { scheduleOrError(scheduleSelector: $s) { ... on Schedule { id } } }"
        schedule = self.ask(query, s=selector)["scheduleOrError"]["id"]
        result = "... on ScheduleStateResult { scheduleState { status } }"
        mutation = f"mutation($id: String!) {{ stopRunningSchedule(id: $id) {{ {result} }} }}"
        stopped = self._ask_again(mutation, id=schedule)
        assert stopped["stopRunningSchedule"]["scheduleState"]["status"] == "STOPPED"

    def _ask_again(self, mutation: str, **variables: Any) -> Any:
        """Data of a mutation; again where the daemon wrote down a first state at that moment, which it does once."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.ask(mutation, **variables)
            except urllib.error.HTTPError:
                assert time.monotonic() < deadline
                time.sleep(0.1)

    def stop_sensor(self) -> None:
        """Turn the sensor off, as by its switch on the page Automation: runs are those that a test clicks for."""
        selector = {**_REPOSITORY, "sensorName": "source_changed"}
        query = "query($s: SensorSelector!) { sensorOrError(sensorSelector: $s) { ... on Sensor { id } } }"
        sensor = self.ask(query, s=selector)["sensorOrError"]["id"]
        result = "... on StopSensorMutationResult { instigationState { status } }"
        mutation = f"mutation($id: String!) {{ stopSensor(id: $id) {{ {result} }} }}"
        stopped = self._ask_again(mutation, id=sensor)
        assert stopped["stopSensor"]["instigationState"]["status"] == "STOPPED"
        deadline = time.monotonic() + PATIENCE_S
        # A tick that had begun goes on, and may still ask for a run.
        ticks = "... on Sensor { sensorState { ticks(limit: 1) { status } } }"
        query = f"query($s: SensorSelector!) {{ sensorOrError(sensorSelector: $s) {{ {ticks} }} }}"
        while any(
            tick["status"] == "STARTED" for tick in self.ask(query, s=selector)["sensorOrError"]["sensorState"]["ticks"]
        ):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def allow_connections(cluster: Cluster, database: Database, allowed: str) -> None:
    """Whether a source can be reached: where it can't, the sensor starts no run before a test turns it off."""
    with cluster.database("postgres").connect() as connection:
        connection.execute(f'ALTER DATABASE "{database.name}" ALLOW_CONNECTIONS {allowed}'.encode())


@contextmanager
def serve_ui(database_url: str, folder: Path, *options: str) -> Iterator[Server]:
    """Start what `make ui` starts, with a home and an export folder of its own; nothing of it stays afterwards."""
    port = free_port()
    export_dir = folder / "exports"
    environment = {
        **os.environ,
        "DATABASE_URL": database_url,
        "EXPORT_DIR": str(export_dir),
        "DAGSTER_HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
    }
    (folder / "tmp").mkdir(exist_ok=True)
    command = [str(LEI_EXPORTS), "ui", "--port", str(port), *options]
    with (folder / "ui.log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            server = Server(f"http://127.0.0.1:{port}", export_dir, folder / "ui.log", process)
            _wait_until_up(server, process, folder / "ui.log")
            yield server
        finally:
            _end(process)


def _wait_until_up(server: Server, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if server.ask(query)["repositoriesOrError"]["nodes"]:
                return
        except (urllib.error.URLError, ConnectionError, KeyError):
            pass
        time.sleep(0.3)
    pytest.fail(f"the UI did not come up:\n{log.read_text()[-3000:]}")


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Ask first: web server, daemon and code server end together; then whatever is left of the group."""
    process.send_signal(signal.SIGINT)
    with suppress(subprocess.TimeoutExpired):
        process.wait(timeout=60)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
