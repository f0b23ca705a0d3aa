"""An operator stops a run, or something kills it: the read ends at once, and nothing of it stays on the server."""

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from assets.defs.definitions import build_definitions
from assets.defs.resources import ExportsResource
from pipelines.snapshots.opening import current_snapshot, published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees, settings_for
from tests.faults.kit import Operator
from tests.integration.kit import OUR_SESSIONS, SLOW_READS, Background, make_slow, run_sql, scalar, session
from tests.killing import run_and_kill_once
from tests.oracle.postgres import Database
from tests.oracle.server import Server, embedded_programs, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.extended]

# Once rows are read, the next collection of garbage in the main thread keeps it in a callback for two seconds. Python
# drops what is raised there, as in each finalizer.
SLOW_COLLECTION = """
import gc, pathlib, threading, time

def begin():
    while not any(thread.name.startswith("export-task") for thread in threading.enumerate()):
        time.sleep(0.01)
    gc.callbacks.append(collected)
    gc.set_threshold(5)

def collected(phase, info):
    if threading.current_thread() is threading.main_thread() and gc.get_threshold()[0] == 5:
        gc.set_threshold(50_000)
        pathlib.Path(__file__).with_name("began").touch()
        for _ in range(100):
            time.sleep(0.02)

threading.Thread(target=begin, daemon=True).start()
"""


def is_reading(database: Database) -> bool:
    with session(database) as connection:
        return bool(scalar(connection, SLOW_READS))


@pytest.mark.parametrize("where", ["the read", "a finalizer"])
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_the_read(operator: Operator, tmp_path: Path, how: signal.Signals, where: str) -> None:
    """SIGTERM is what Dagster's "terminate" sends. With a retry policy Dagster would begin again instead."""
    before = published_snapshot(operator.export_dir)
    make_slow(operator.database, 0.2)  # a read of 100 s
    path = tmp_path / "path"
    path.mkdir()
    if where == "a finalizer":
        (path / "sitecustomize.py").write_text(SLOW_COLLECTION, encoding="utf-8")
    process = operator.start("run", "--full-refresh", PYTHONPATH=str(path))
    wait_until(lambda: (path / "began").exists() if where == "a finalizer" else is_reading(operator.database))
    started = time.monotonic()
    process.send_signal(how)
    out, err = process.communicate(timeout=120)
    assert time.monotonic() - started < 40, "the end of Dagster takes a second, on a busy machine many times that"
    with session(operator.database) as looker:
        wait_until(lambda: scalar(looker, OUR_SESSIONS) == 0, 2)
    assert process.returncode == 130, err
    assert "Interrupted" in err
    assert "Traceback" not in out + err
    assert current_snapshot(operator.export_dir) == before
    verify_snapshot(before)


def is_loaded(operator: Operator, pid: int, library: str) -> bool:
    """Whether a process has got so far; once it reads, it is not asked for its libraries."""
    if library == "the read":
        return is_reading(operator.database)
    return library in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8")


@pytest.mark.parametrize("moment", ["pydantic_core", "sqlalchemy", "the read"])
def test_ctrl_c_in_a_terminal_is_one_line(operator: Operator, moment: str) -> None:
    """While the commands are loaded, Dagster is, and rows are read. It reaches every process of the terminal."""
    before = current_snapshot(operator.export_dir)
    make_slow(operator.database, 0.06)
    process, terminal = operator.start_in_terminal("run", "--full-refresh")
    wait_until(lambda: is_loaded(operator, process.pid, moment))
    os.write(terminal, b"\x03")
    shown = read_all(terminal)
    assert process.wait(60) == 130, shown
    assert "Traceback" not in shown
    assert len(re.findall("Error.*: Interrupted", shown)) == shown.count("Error") == 1, shown
    assert current_snapshot(operator.export_dir) == before


def read_all(terminal: int) -> str:
    shown = b""
    with suppress(OSError):  # EIO: all processes of it have ended
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    return shown.decode()


def test_a_killed_run_leaves_no_session_either(operator: Operator) -> None:
    """It can't cancel anything: the server looks every 5 s whether its client is there, long queries or not."""
    before = published_snapshot(operator.export_dir)
    run_sql(operator.database, "UPDATE domains SET company_name = 'Changed'")
    make_slow(operator.database, 0.5)  # 8 KB of rows, which the server sends at once, take a minute
    settings = settings_for(operator.database, operator.export_dir)
    assert run_and_kill_once(settings, lambda: is_reading(operator.database))
    with session(operator.database) as looker:
        wait_until(lambda: scalar(looker, OUR_SESSIONS) == 0, 20)
    assert current_snapshot(operator.export_dir) == before
    verify_snapshot(before)


@pytest.fixture
def server() -> Iterator[Server]:
    with new_server(embedded_programs()) as server:
        yield server


@pytest.mark.extended
def test_server_stopped_and_started_during_a_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = server.database()
    with database.connect() as connection:
        create_source_tables(connection)
        insert_source(connection, *random_rows(4, 60))
        connection.execute("CREATE SCHEMA slow")
        for table in ("domains", "gleif_candidates"):
            connection.execute(
                f"CREATE VIEW slow.{table} AS SELECT t.* FROM {table} t, "
                "LATERAL (SELECT pg_sleep(0.01) WHERE t.id IS NOT NULL OFFSET 0) s"
            )
    monkeypatch.setenv("DATABASE_URL", database.url)
    monkeypatch.setenv("SOURCE_SCHEMA", "slow")
    definitions = build_definitions(ExportsResource(overrides={"export_dir": str(tmp_path)}))

    with dg.DagsterInstance.ephemeral() as instance:

        def tries() -> int:
            retries = {dg.DagsterEventType.STEP_UP_FOR_RETRY}
            return sum(len(instance.all_logs(run.run_id, of_type=retries)) for run in instance.get_runs())

        def restart() -> None:
            wait_until(lambda: is_reading(database))
            server.stop("fast")
            wait_until(lambda: tries() >= 2)  # the first one found nobody
            server.start()

        helper = Background(restart)
        result: Any = definitions.resolve_job_def("export").execute_in_process(instance=instance, raise_on_error=False)
        helper.result()
    assert result.success
    assert [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]
    snapshot = published_snapshot(tmp_path)
    assert_agrees(database, snapshot)
