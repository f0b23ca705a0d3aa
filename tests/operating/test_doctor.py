"""`lei-exports doctor` finds what a run would fail at, and says how to fix it."""

import json
from pathlib import Path

import pytest
from pydantic import SecretStr
from typer.testing import CliRunner

from assets.cli.commands import app
from pipelines.build.diagnosis import diagnose
from pipelines.checks.findings import Finding
from tests.exporting import export, settings_for
from tests.integration.kit import as_role, role, run_sql
from tests.operating.kit import SECRET, webhook
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.fast]


@pytest.fixture
def source(database: Database) -> Database:
    fill_source(database, *random_rows(5, 40), id_type="integer PRIMARY KEY")
    return database


def findings_of(database: Database, tmp_path: Path, **overrides: object) -> dict[str, Finding]:
    settings = settings_for(database, tmp_path / "exports", dagster_home=tmp_path / "home", **overrides)
    return {finding.topic: finding for finding in diagnose(settings)}


def test_a_source_that_can_be_exported(source: Database, tmp_path: Path) -> None:
    found = findings_of(source, tmp_path, read_connections=2)
    assert {finding.verdict for topic, finding in found.items() if topic != "privileges"} == {"ok"}, found
    assert found["privileges"].verdict == "warning", "the tests' role is a superuser"
    assert found["pooler"].found.startswith("4 connections")
    assert found["published"].found == "nothing yet"
    assert "table, 55 columns" in found["table domains"].found or "columns are read" in found["table domains"].found
    export(settings_for(source, tmp_path / "exports"))
    assert "(sequence 1)" in findings_of(source, tmp_path)["published"].found


def test_the_way_out_of_what_a_run_would_fail_at(source: Database, tmp_path: Path) -> None:
    with role(source) as name:
        run_sql(source, f'GRANT SELECT ON domains TO "{name}"')
        found = findings_of(as_role(source, name), tmp_path)
    assert found["tables"].verdict == "failed"
    assert "GRANT SELECT" in found["tables"].fix
    run_sql(source, "ALTER TABLE domains DROP COLUMN status, ALTER COLUMN domain TYPE bytea USING NULL")
    found = findings_of(source, tmp_path)
    assert "status" in found["tables"].found
    assert "domain has type bytea" in found["tables"].found
    assert findings_of(source, tmp_path, source_schema="nowhere")["tables"].fix.startswith("check SOURCE_SCHEMA")


def test_what_makes_each_run_slower_is_a_warning(source: Database, tmp_path: Path) -> None:
    run_sql(
        source,
        "ALTER TABLE domains DROP CONSTRAINT domains_pkey",
        "ALTER TABLE gleif_candidates RENAME TO t",
        "CREATE VIEW gleif_candidates AS TABLE t",
    )
    found = findings_of(source, tmp_path)
    assert found["table domains"].verdict == "warning"
    assert "primary key" in found["table domains"].fix
    assert found["table gleif_candidates"].verdict == "warning"
    assert "view" in found["table gleif_candidates"].found


def test_folders_that_can_not_be_used(source: Database, tmp_path: Path) -> None:
    (tmp_path / "exports").write_text("a file")
    (tmp_path / "home").write_text("a file")
    found = findings_of(source, tmp_path)
    assert [found[name].verdict for name in ("EXPORT_DIR", "DAGSTER_HOME")] == ["failed", "failed"]
    assert found["table domains"].verdict == "ok", "one failure does not hide the rest"


@pytest.fixture
def own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXPORT_DIR", "EMBEDDED_DIR", "DAGSTER_HOME"):
        monkeypatch.setenv(name, str(tmp_path / name))


@pytest.mark.usefixtures("own_folders")
def test_the_command_says_it_and_exits_with_1(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://someone:s3cr3t-pass@127.0.0.1:1/nowhere")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "fix: check host and port" in done.stdout
    assert "s3cr3t" not in done.stdout
    reported = json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)
    assert [finding["topic"] for finding in reported if finding["verdict"] == "failed"] == ["connection"]
    monkeypatch.setenv("KEEP_SNAPSHOTS", "none")
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "KEEP_SNAPSHOTS" in done.stdout


@pytest.mark.usefixtures("own_folders")
def test_a_test_alert_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    assert CliRunner().invoke(app, ["doctor", "--test-alert"]).exit_code == 1
    with webhook([204, 410]) as hook:
        monkeypatch.setenv("ALERT_WEBHOOK_URL", hook.url)
        assert CliRunner().invoke(app, ["doctor", "--test-alert"]).exit_code == 0
        assert [alert["kind"] for alert in hook.alerts] == ["test"]
        done = CliRunner().invoke(app, ["doctor", "--test-alert"])
    assert done.exit_code == 1
    assert "status 410" in done.stdout
    assert SECRET not in done.stdout


def test_a_secret_of_the_settings_is_in_no_finding(source: Database, tmp_path: Path) -> None:
    found = findings_of(source, tmp_path, alert_webhook_url=SecretStr(f"https://alerts.example/{SECRET}"))
    assert SECRET not in str(found)
    assert source.url not in str(found)
