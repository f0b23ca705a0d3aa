"""`lei-exports ui`: its services live and die together, and its pages show what stands after a run without a change."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance

from pipelines.system.file_lock import hold_lock
from pipelines.system.run_lock import hold_run_lock
from tests.browser.kit import Server, allow_connections, serve_ui
from tests.hostile import random_rows
from tests.integration.kit import wait_until
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.orchestration, pytest.mark.standard]

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
    command = [str(Path(sys.executable).with_name("lei-exports")), "ui", *options]
    environment = {**os.environ, "DAGSTER_HOME": str(home), "EXPORT_DIR": str(home.parent / "exports")}
    return subprocess.run(
        command, cwd=home.parent, env=environment, capture_output=True, text=True, check=False, timeout=60
    )


def verdicts(server: Server) -> dict[tuple[str, str], Any]:
    """By asset and check what the graph shows: status and severity, and names of what is told."""
    return {
        ("/".join(node["assetKey"]["path"]), check["name"]): check["executionForLatestMaterialization"]
        for node in server.ask(PAGE)["assetNodes"]
        for check in node["assetChecksOrError"].get("checks", [])
    }


@pytest.mark.extended
@pytest.mark.integration
def test_services_are_started_again_or_end_and_an_unchanged_source_leaves_the_page_as_it_was(
    cluster: Cluster, database: Database, tmp_path: Path
) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_source(connection, *random_rows(4, 60))
    home = tmp_path / "home"
    allow_connections(cluster, database, "false")
    with serve_ui(database.url, tmp_path) as server:
        server.stop_sensor()
        allow_connections(cluster, database, "true")
        assert server.wait_for_run_of("export") == "SUCCESS"
        first = verdicts(server)
        assert {check["status"] for check in first.values()} == {"SUCCEEDED", "FAILED"}, "there is something to warn of"

        with hold_run_lock(server.export_dir):
            server.launch("export")
            wait_until(lambda: server.runs()[0][1] == "STARTED", 60)
            os.kill(only(home, "api grpc"), signal.SIGKILL)
            wait_until(lambda: "it is started again" in server.log.read_text(), 20)
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

        with hold_run_lock(server.export_dir):
            last = server.launch("export")
            wait_until(lambda: server.runs()[0][1] == "STARTED", 60)
            server.process.kill()
            server.process.wait()
            wait_until(lambda: not any("assets.cli.web" in p or "daemon" in p for p in processes_of(home).values()), 30)
        wait_until(lambda: not processes_of(home), 60)
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
        with hold_run_lock(server.export_dir):
            last = server.launch("export")
            wait_until(lambda: server.runs()[0][1] == "STARTED", 60)
            os.kill(only(home, "dagster-daemon run"), signal.SIGKILL)
            assert server.process.wait(60) == 1
        assert "daemon was killed by signal 9" in server.log.read_text()
        assert processes_of(home) == {}
        with DagsterInstance.from_config(str(home)) as instance:
            run = instance.get_run_by_id(last)
            assert run is not None
            assert run.status == dg.DagsterRunStatus.FAILURE, "it was asked to end, and is not left as started"
    assert list((deep / "tmp").iterdir()) == []


def test_on_a_busy_port_nothing_is_started(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = ui(tmp_path / "home", "--port", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert not list((tmp_path / "home").rglob("*.db")), "no service has been there"


def test_a_home_has_one_daemon(tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with hold_lock(tmp_path / "home" / "ui.lock", 0):
        done = ui(tmp_path / "home", "--port", str(port))
    assert done.returncode == 1
    assert "Another lei-exports ui" in done.stderr
    assert f"process {os.getpid()}" in done.stderr
