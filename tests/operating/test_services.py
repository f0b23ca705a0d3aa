"""`lei-exports ui`: its services live and die together, and its pages show what stands after a run without a change."""

import os
import re
import signal
import socket
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance

from pipelines.contracts.tables import published_tables
from pipelines.system.file_lock import hold_lock
from pipelines.system.run_lock import hold_run_lock
from tests.browser.kit import Server, allow_connections, serve_ui
from tests.forking import run_command, run_forked
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import fill_source
from tests.ports import free_port
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.orchestration, pytest.mark.standard]

ROOT = Path(__file__).resolve().parents[2]
RUN_TAGS = "... on Run { tags { key value } }"
PAGE = """{ assetNodes {
    assetKey { path } staleStatus freshnessStatusInfo { freshnessStatus }
    assetChecksOrError { ... on AssetChecks { checks {
        name executionForLatestMaterialization { status evaluation { severity metadataEntries { label } } } } } } } }"""


def processes_of(home: Path) -> dict[int, str]:
    """Command lines, by process id, of all that run with a DAGSTER_HOME and have not ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            variables, command = (folder / "environ").read_bytes(), (folder / "cmdline").read_bytes()
        except OSError:
            continue
        if f"DAGSTER_HOME={home}".encode() in variables.split(b"\0") and command:
            found[int(folder.name)] = command.replace(b"\0", b" ").decode()
    return found


def only(home: Path, part: str) -> int:
    (process,) = [number for number, command in processes_of(home).items() if part in command]
    return process


def ui(home: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    settings = {"DAGSTER_HOME": str(home), "EXPORT_DIR": str(home.parent / "exports")}
    return run_command(["ui", *options], home.parent, settings)


def verdicts(server: Server) -> dict[tuple[str, str], Any]:
    """By asset and check what the graph shows: status and severity, and names of what is told."""
    return {
        ("/".join(node["assetKey"]["path"]), check["name"]): check["executionForLatestMaterialization"]
        for node in server.ask(PAGE)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    }


def assert_the_log_holds_what_matters(log: str) -> None:
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in log.splitlines()]
    assert [line for line in lines if "DEBUG" in line or "BetaWarning" in line] == []
    assert [line for line in lines if "Checking for new runs" in line or "empty result" in line] == []
    said = Counter(line.partition(" - ")[2] for line in lines if "SensorDaemon" in line)
    assert said
    assert {line: count for line, count in said.items() if count > 1} == {}
    assert [line for line in lines if line.endswith("INFO - Launched 1 runs.")]
    assert [line for line in lines if "is published: " in line], "and what a run published"


def assert_an_unchanged_run_says_so_first(server: Server) -> None:
    logs = "... on EventConnection { events { ... on LogMessageEvent { message } } }"
    query = f"query($id: ID!) {{ logsForRun(runId: $id) {{ {logs} }} runOrError(runId: $id) {{ {RUN_TAGS} }} }}"
    found = server.ask(query, id=server.runs()[0][0])
    first = next(event["message"] for event in found["logsForRun"]["events"] if event.get("message"))
    assert re.match(r"Nothing changed since snapshot \S+ \(sequence 1\): ", first)
    tags = {tag["key"]: tag["value"] for tag in found["runOrError"]["tags"]}
    assert tags["lei_exports/result"] == "nothing changed since snapshot 1"
    assert not [value for value in tags.values() if re.fullmatch("[0-9a-f-]{32,}", value)], "no hash, no id"


def assert_plots_begin_with_what_matters(server: Server) -> None:
    """Dagster draws every number of the metadata, by the letters of its name."""
    entries = "... on Asset { assetMaterializations { metadataEntries { label __typename } } }"
    query = f"query($k: AssetKeyInput!) {{ assetOrError(assetKey: $k) {{ {entries} }} }}"
    found = server.ask(query, k={"path": ["published", "snapshot"]})["assetOrError"]["assetMaterializations"]
    drawn = sorted(
        entry["label"]
        for entry in found[-1]["metadataEntries"]
        if entry["__typename"] in {"IntMetadataEntry", "FloatMetadataEntry"}
    )
    rows = [f"exported_rows_{table.name}" for table in published_tables(include_full_data=False)]
    rows.remove("exported_rows_rejected_rows")
    first = [*sorted(rows), "rejected_rows", "run_s", "size_duckdb_bytes", "size_parquet_bytes"]
    assert drawn[: len(first)] == first
    assert all(label.startswith("time_") for label in drawn[len(first) :])
    assert len(drawn) > len(first)


def test_the_log_of_the_daemon_has_what_is_new_and_each_line_once() -> None:
    """Dagster's SQLite storage logs to the root logger, which gives that a handler: every line was there twice."""
    code = """if True:
        import logging
        from dagster._utils.log import configure_loggers
        from assets.cli.daemon import set_up_log
        set_up_log()
        logging.warning("a library")
        configure_loggers()
        log = logging.getLogger("dagster.daemon.SensorDaemon")
        for _ in range(3):
            log.info("Checking for new runs for sensor: source_changed")
            log.info("Sensor source_changed skipped: the source can't be reached")
            log.info("Sensor old_runs skipped: 0 runs deleted")
            log.error("Sensor daemon caught an error")
        log.info("Sensor source_changed skipped: nothing changed")
        log.info("Sensor source_changed skipped: the source can't be reached")
        log.info("Launching run for source_changed")
    """
    done = run_forked(code)
    lines = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout + done.stderr).splitlines()
    assert Counter(line.rpartition(" - ")[2] for line in lines) == {
        "Sensor source_changed skipped: the source can't be reached": 2,
        "Sensor source_changed skipped: nothing changed": 1,
        "Sensor old_runs skipped: 0 runs deleted": 1,
        "Sensor daemon caught an error": 3,
        "Launching run for source_changed": 1,
        "WARNING:root:a library": 1,
    }


@pytest.mark.extended
@pytest.mark.integration
def test_services_are_started_again_or_end_and_an_unchanged_source_leaves_the_page_as_it_was(
    cluster: Cluster, database: Database, tmp_path: Path
) -> None:
    fill_source(database, *random_rows(4, 60))
    home = tmp_path / "home"
    allow_connections(cluster, database, "false")
    with serve_ui(database.url, tmp_path) as server:
        server.stop_schedule()
        server.stop_sensor()
        allow_connections(cluster, database, "true")
        assert server.wait_for_run_of("export") == "SUCCESS"
        first = verdicts(server)
        assert {check["status"] for check in first.values()} == {"SUCCEEDED", "FAILED"}, "there is something to warn of"

        with hold_run_lock(server.export_dir):
            server.launch("export")
            wait_until(lambda: server.runs()[0][1] == "STARTED")
            os.kill(only(home, "api grpc"), signal.SIGKILL)
            wait_until(lambda: "it is started again" in server.log.read_text())
        assert server.wait_for_run(2)[1] == "SUCCESS", "a run goes on without the code server that launched it"
        assert server.wait_for_run_of("export") == "SUCCESS"
        nodes = server.ask(PAGE)["assetNodes"]
        stale = {"/".join(node["assetKey"]["path"]) for node in nodes if node["staleStatus"] == "STALE"}
        assert "published/snapshot" not in stale
        fresh = ["/".join(n["assetKey"]["path"]) for n in nodes if n["freshnessStatusInfo"]]
        assert sorted(fresh) == ["published/snapshot", "source/domains", "source/gleif_candidates"]
        again = verdicts(server)
        for key, check in again.items():
            assert check["status"] == first[key]["status"], key
            assert check["evaluation"]["severity"] == first[key]["evaluation"]["severity"], key
            if not key[0].startswith("staging"):
                labels = {entry["label"] for entry in check["evaluation"]["metadataEntries"]}
                assert {"found_by_snapshot", "reported_again"} <= labels, key
        assert again.keys() == first.keys()
        assert "without gating" not in server.log.read_text()
        assert_the_log_holds_what_matters(server.log.read_text())
        assert_an_unchanged_run_says_so_first(server)
        assert_plots_begin_with_what_matters(server)

        with hold_run_lock(server.export_dir):
            last = server.launch("export")
            wait_until(lambda: server.runs()[0][1] == "STARTED")
            server.process.kill()
            server.process.wait()
            wait_until(lambda: not any("assets.cli.web" in p or "daemon" in p for p in processes_of(home).values()))
        wait_until(lambda: not processes_of(home))
        with DagsterInstance.from_config(str(home)) as instance:
            run = instance.get_run_by_id(last)
            assert run is not None
            assert run.status == dg.DagsterRunStatus.SUCCESS
        assert list((tmp_path / "tmp").iterdir()) == []


@pytest.mark.extended
def test_a_service_that_ends_for_good_ends_everything_with_a_message(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)  # its socket can't be reached by that path
    deep.mkdir()
    home = deep / "home"
    with serve_ui("postgresql://nobody@127.0.0.1:1/nothing", deep) as server:
        server.stop_schedule()
        with hold_run_lock(server.export_dir):
            last = server.launch("export")
            wait_until(lambda: server.runs()[0][1] == "STARTED")
            os.kill(only(home, "assets.cli.daemon"), signal.SIGKILL)
            assert server.process.wait(180) == 1
        assert "daemon was killed by signal 9" in server.log.read_text()
        assert processes_of(home) == {}
        with DagsterInstance.from_config(str(home)) as instance:
            run = instance.get_run_by_id(last)
            assert run is not None
            assert run.status == dg.DagsterRunStatus.FAILURE, "it was asked to end, and is not left as started"
    assert list((deep / "tmp").iterdir()) == []


def test_on_a_busy_port_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as with_lineage:
        done = ui(tmp_path / "home", "--port", str(with_lineage.getsockname()[1]))
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert not list((tmp_path / "home").rglob("*.db")), "no service has been there"


def test_a_home_has_one_daemon(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    port = free_port()
    with hold_lock(tmp_path / "home" / "ui.lock", 0):
        done = ui(tmp_path / "home", "--port", str(port))
    assert done.returncode == 1
    assert "Another lei-exports ui" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
