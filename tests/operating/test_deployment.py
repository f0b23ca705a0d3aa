"""The deployment of docs/deploy: the instance is really made, the jobs run in it, and its sensors alert."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster import DagsterInstance
from psycopg import conninfo

from assets.defs.definitions import build_definitions
from assets.defs.resources import EXPORT_FOLDER, ExportsResource
from pipelines.snapshots.history import LAST_CHECKED
from pipelines.snapshots.opening import published_snapshot
from tests.forking import run_program
from tests.integration.kit import run_sql
from tests.operating.kit import SECRET, Hook, webhook
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import fill_source
from tests.ports import free_port
from tests.random_rows import random_rows

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.standard]

DEPLOY = Path(__file__).resolve().parents[2] / "docs" / "deploy"
UNITS = sorted(DEPLOY.glob("*.service"))
INSTALLED = "/opt/lei-exports"
ROOT = DEPLOY.parents[1]


class Deployment:
    """An instance of docs/deploy/dagster.yaml, its jobs and sensors."""

    def __init__(self, instance: DagsterInstance, export_dir: Path, hook: Hook) -> None:
        self.instance = instance
        self.export_dir = export_dir
        self.hook = hook
        self.exports = ExportsResource(overrides={"export_dir": str(export_dir)})
        self.definitions = build_definitions(self.exports)
        self._cursors: dict[str, str | None] = {}

    def run(self, job: str, **options: object) -> dg.ExecuteInProcessResult:
        return self.definitions.resolve_job_def(job).execute_in_process(
            instance=self.instance, raise_on_error=False, **options
        )

    def look(self, sensor: str) -> list[str | None]:
        """Let a sensor look; the kinds of the alerts that were posted."""
        before = len(self.hook.alerts)
        with dg.build_sensor_context(
            instance=self.instance,
            cursor=self._cursors.get(sensor),
            definitions=self.definitions,
            resources={"exports": self.exports},
        ) as context:
            tick = self.definitions.resolve_sensor_def(sensor).evaluate_tick(context)
        self._cursors[sensor] = tick.cursor
        assert not [reaction for reaction in tick.dagster_run_reactions or [] if reaction.error]
        return [alert["kind"] for alert in self.hook.alerts[before:]]


@pytest.fixture
def deployment(
    cluster: Cluster, database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Deployment]:
    fill_source(database, *random_rows(8, 60))
    home = tmp_path / "home"
    home.mkdir()
    shutil.copy(DEPLOY / "dagster.yaml", home)
    monkeypatch.setenv("DATABASE_URL", database.url)
    with cluster.new_database() as storage, webhook() as hook:
        monkeypatch.setenv("DAGSTER_POSTGRES_URL", url_of(storage))
        monkeypatch.setenv("ALERT_WEBHOOK_URL", hook.url)
        with DagsterInstance.from_config(str(home)) as instance:
            yield Deployment(instance, tmp_path / "exports", hook)
            assert not list(home.rglob("*.db")), "nothing of it is in files"


def url_of(database: Database) -> str:
    """URL of a database as SQLAlchemy takes it: the folder of a socket stands in the query."""
    parts = conninfo.conninfo_to_dict(database.conninfo)
    return f"postgresql+psycopg2://{parts['user']}@/{database.name}?host={parts['host']}"


@pytest.mark.extended
def test_jobs_and_alerts_in_an_instance_on_postgresql(
    deployment: Deployment, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert deployment.instance.get_concurrency_config().pool_config.default_pool_limit == 1
    for sensor in ("alert_on_failure", "alert_on_success", "alert_on_staleness"):
        assert deployment.look(sensor) == [], "a sensor begins with what is to come"

    assert deployment.run("export").success
    snapshot = published_snapshot(deployment.export_dir)
    assert deployment.look("alert_on_success") == ["success"]
    assert deployment.hook.alerts[-1]["snapshot_id"] == snapshot.manifest.id
    assert deployment.look("alert_on_failure") == []

    full = deployment.run("full_refresh")
    assert full.success
    again = published_snapshot(deployment.export_dir)
    assert again.manifest.sequence == snapshot.manifest.sequence + 1
    assert again.manifest.base_snapshot is None
    story = [entry.user_message for entry in deployment.instance.all_logs(full.run_id) if not entry.is_dagster_event]
    assert 8 <= len(story) <= 20, story
    assert story[0].startswith("Source ")
    assert again.manifest.id in story[-1]
    assert deployment.look("alert_on_success") == ["success"]

    batch_id = again.scan("batch_summaries").collect()["batch_id"].to_list()[0]
    config = {"ops": {"write_batch_file": {"config": {"batch_id": batch_id, "batch_format": "JSON"}}}}
    assert deployment.run("export_batch", run_config=config).success
    (file,) = (deployment.export_dir / "batches").iterdir()
    assert json.loads(file.read_text(encoding="utf-8"))
    assert deployment.look("alert_on_success") == [], "a batch as a file is no news of the export"

    config["ops"]["write_batch_file"]["config"]["batch_id"] = "no such batch"
    run_sql(database, "TRUNCATE domains")
    failed = [deployment.run("export_batch", run_config=config), deployment.run("export")]
    assert not any(run.success for run in failed)
    assert deployment.look("alert_on_failure") == ["failure", "failure"]
    reported = {alert["run_id"]: alert for alert in deployment.hook.alerts[-2:]}
    assert reported.keys() == {run.run_id for run in failed}
    assert "no such batch" in reported[failed[0].run_id]["reason"]
    assert "source_not_shrunk" in reported[failed[1].run_id]["reason"]
    assert reported[failed[1].run_id]["snapshot_id"] == again.manifest.id

    look = deployment.export_dir / LAST_CHECKED
    look.write_text(json.dumps({**json.loads(look.read_text()), "checked_at": "2026-01-01T00:00:00+00:00"}))
    monkeypatch.setattr("pipelines.alerts.webhook._FIRST_PAUSE_S", 0.01)
    deployment.hook.answers = [500, 500, 500]
    assert deployment.look("alert_on_staleness") == ["stale"] * 3, "tried three times, and not taken"
    assert deployment.look("alert_on_staleness") == ["stale"], "so it is told at the next look"
    assert deployment.look("alert_on_staleness") == []
    everything = str([entry.to_json() for run in failed for entry in deployment.instance.all_logs(run.run_id)])
    assert SECRET not in everything


def test_a_sensor_without_a_webhook_tells_nobody_and_does_not_fail(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ALERT_WEBHOOK_URL")
    monkeypatch.setenv("STALE_AFTER_HOURS", "0.0000001")
    for sensor in ("alert_on_failure", "alert_on_success", "alert_on_staleness"):
        assert deployment.look(sensor) == []
    assert deployment.look("alert_on_staleness") == []


def test_every_step_on_the_export_folder_is_in_its_pool() -> None:
    job = build_definitions().resolve_job_def("export")
    assert {node.definition.pools == {EXPORT_FOLDER} for node in job.nodes} == {True}


@pytest.mark.parametrize("unit", UNITS, ids=lambda path: path.stem)
def test_a_unit_is_one_that_systemd_takes(unit: Path, tmp_path: Path) -> None:
    verify = shutil.which("systemd-analyze")
    if verify is None:
        pytest.skip("no systemd-analyze (Debian: apt-get install systemd)")
    programs = Path(sys.executable).parent
    text = unit.read_text(encoding="utf-8")
    assert f"{INSTALLED}/.venv/bin/" in text
    copy = tmp_path / unit.name
    copy.write_text(text.replace(f"{INSTALLED}/.venv/bin/", f"{programs}/").replace(INSTALLED, str(ROOT)))
    done = run_program([verify, "verify", copy])
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if unit.name in line]
    assert (done.returncode, about_it) == (0, [])


@pytest.mark.extended
def test_the_code_server_of_its_unit_answers(tmp_path: Path) -> None:
    """Its command as it stands in the unit, but for folder and port; the workspace names that very place."""
    (place,) = [entry["grpc_server"] for entry in yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]]
    text = (DEPLOY / "lei-exports-code.service").read_text(encoding="utf-8")
    found = re.search(r"^ExecStart=(.*)$", text, re.MULTILINE)
    assert found is not None
    words = found.group(1).split()
    assert words[words.index("--port") + 1] == str(place["port"])
    assert words[words.index("--host") + 1] == place["host"]
    assert words[words.index("--location-name") + 1] == place["location_name"]
    port = str(free_port())
    words[words.index("--port") + 1] = port
    programs = Path(sys.executable).parent
    words[0] = words[0].replace(f"{INSTALLED}/.venv/bin", str(programs))
    environment = {**os.environ, "DAGSTER_HOME": str(tmp_path)}
    with (tmp_path / "log").open("wb") as log:
        server = subprocess.Popen(words, cwd=ROOT, env=environment, stdout=log, stderr=log)
        try:
            check = [str(programs / "dagster"), "api", "grpc-health-check", "--host", "127.0.0.1", "--port", port]
            until = time.monotonic() + 240
            while subprocess.run(check, env=environment, capture_output=True, check=False).returncode:
                assert server.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < until, (tmp_path / "log").read_text()
        finally:
            server.kill()  # Dagster's ignores SIGTERM where the tests run in the background, as SIGINT is ignored there
            server.wait()
    assert "Warning" not in (tmp_path / "log").read_text()
