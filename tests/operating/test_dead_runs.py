"""A run whose process was killed: Dagster is told that it failed, an operator too, once, and nothing waits for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterInstance

from assets.defs.definitions import build_definitions
from assets.defs.resources import ExportsResource
from pipelines.system.run_lock import hold_running
from tests.faults.kit import Operator
from tests.operating.kit import webhook
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.publish.kit import ROOT
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.extended]

# `lei-exports run`, which at one place in the code kills itself, or waits until a file is gone.
RUN = """
import os, pkgutil, signal, sys, time
from pathlib import Path
place, what = sys.argv[1:]
module, path = place.split(":")
owner, _, name = path.rpartition(".")
owner = pkgutil.resolve_name(f"{module}:{owner}" if owner else module)
real = getattr(owner, name)
def happens(*arguments, **options):
    if what == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)
    Path(what).touch()
    while Path(what).exists():
        time.sleep(0.02)
    return real(*arguments, **options)
setattr(owner, name, happens)
from assets.cli.commands import main
sys.argv = ["lei-exports", "run", "--full-refresh"]
main()
"""
BEFORE_IT_BEGINS = "assets.defs.running:execute_run"
WITHOUT_THE_LOCK = "assets.defs.resources:hold_run"
WITH_THE_LOCK = "pipelines.export:publish_tables"
BEHIND_THE_LOCK = "dagster._core.events:DagsterEvent.job_success"


@pytest.fixture
def operator(database: Database, tmp_path: Path) -> Operator:
    fill_source(database, *random_rows(9, 40))
    operator = Operator(database, tmp_path)
    operator.home.mkdir()
    (operator.home / "dagster.yaml").write_text("telemetry: {enabled: false}")
    with DagsterInstance.from_config(str(operator.home)):  # its database: two that make it at once are in the way
        return operator


def run_at(operator: Operator, place: str, what: str, **environment: str) -> "subprocess.Popen[str]":
    """Start RUN."""
    return subprocess.Popen(
        [sys.executable, "-c", RUN, place, what],
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": str(ROOT),
            "DATABASE_URL": operator.database.url,
            "EXPORT_DIR": str(operator.export_dir),
            "DAGSTER_HOME": str(operator.home),
            **environment,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(process: "subprocess.Popen[str]") -> int:
    out, err = process.communicate(timeout=300)
    print(out, err)  # noqa: T201  shown where a test fails
    return process.returncode


def statuses(instance: dg.DagsterInstance) -> list[str]:
    """Of all runs, newest first."""
    return [run.status.value for run in instance.get_runs()]


def tick(instance: dg.DagsterInstance, operator: Operator, sensor: str, cursor: str | None = None) -> Any:
    exports = ExportsResource(overrides={"export_dir": str(operator.export_dir)})
    definitions = build_definitions(exports)
    with dg.build_sensor_context(
        instance=instance, cursor=cursor, definitions=definitions, resources={"exports": exports}
    ) as context:
        return definitions.resolve_sensor_def(sensor).evaluate_tick(context)


def test_a_run_that_was_killed_anywhere_is_marked_and_posted_once(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = {BEFORE_IT_BEGINS: "NOT_STARTED", WITHOUT_THE_LOCK: "STARTED", BEHIND_THE_LOCK: "STARTED"}
    with webhook() as hook:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", hook.url)
        killed = [run_at(operator, place, "SIGKILL", ALERT_WEBHOOK_URL=hook.url) for place in places]
        assert [end_of(process) for process in killed] == [-9] * len(places)
        with DagsterInstance.from_config(str(operator.home)) as instance:
            assert sorted(statuses(instance)) == sorted(places.values())
            first = tick(instance, operator, "alert_on_failure")
            assert tick(instance, operator, "dead_runs").skip_message.count("ts process is gone") == len(places)
            assert statuses(instance) == ["FAILURE"] * len(places)
            assert "no run is dead" in tick(instance, operator, "dead_runs").skip_message
            tick(instance, operator, "alert_on_failure", first.cursor)
            assert {alert["run_id"] for alert in hook.alerts} == {run.run_id for run in instance.get_runs()}
    assert [alert["kind"] for alert in hook.alerts] == ["failure"] * len(places)


def test_the_next_run_of_the_command_does_so_too(operator: Operator) -> None:
    with webhook() as hook:
        assert end_of(run_at(operator, WITH_THE_LOCK, "SIGKILL", ALERT_WEBHOOK_URL=hook.url)) == -9
        assert end_of(operator.start("run", ALERT_WEBHOOK_URL=hook.url)) == 0
    assert [alert["kind"] for alert in hook.alerts] == ["failure", "success"]
    assert "ts process is gone" in hook.alerts[0]["reason"]
    with DagsterInstance.from_config(str(operator.home)) as instance:
        assert statuses(instance) == ["SUCCESS", "FAILURE"]
        assert {run.remote_job_origin.repository_origin.get_label() for run in instance.get_runs()} == {
            "__repository__@lei-exports"
        }
    assert list(operator.export_dir.glob(".running/*.lock")) == []


def test_the_sensor_of_the_source_is_not_held_up_by_it(operator: Operator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", operator.database.url)
    assert end_of(run_at(operator, WITHOUT_THE_LOCK, "SIGKILL")) == -9
    with DagsterInstance.from_config(str(operator.home)) as instance:
        assert tick(instance, operator, "source_changed").run_requests
        assert statuses(instance) == ["FAILURE"]


@pytest.mark.extended
def test_a_run_of_another_host_is_left_alone_until_it_was_silent_for_long(
    operator: Operator, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert end_of(run_at(operator, WITHOUT_THE_LOCK, "SIGKILL")) == -9
    (file,) = operator.export_dir.glob(".running/*.lock")
    file.write_text(json.dumps({**json.loads(file.read_text()), "host": "elsewhere", "boot": "00000000"}))
    with DagsterInstance.from_config(str(operator.home)) as instance:
        assert "no run is dead" in tick(instance, operator, "dead_runs").skip_message
        monkeypatch.setattr("assets.defs.run_cleanup._MAX_SILENCE_S", 0)
        with hold_running(operator.export_dir, file.stem):
            assert "no run is dead" in tick(instance, operator, "dead_runs").skip_message
        assert "said nothing" in tick(instance, operator, "dead_runs").skip_message
        assert statuses(instance) == ["FAILURE"]


@pytest.mark.extended
def test_a_run_that_lives_is_left_alone_with_or_without_the_lock(operator: Operator, tmp_path: Path) -> None:
    """Paused before it has the lock, and once more when it has given it back and not yet said how it ended."""
    for place in (WITHOUT_THE_LOCK, BEHIND_THE_LOCK):
        pause = tmp_path / "pause"
        paused = run_at(operator, place, str(pause))
        wait_until(pause.exists)
        with DagsterInstance.from_config(str(operator.home)) as instance:
            assert statuses(instance)[0] == "STARTED"
            assert "no run is dead" in tick(instance, operator, "dead_runs").skip_message
            assert statuses(instance)[0] == "STARTED"
            pause.unlink()
            assert end_of(paused) == 0
            assert statuses(instance)[0] == "SUCCESS"
