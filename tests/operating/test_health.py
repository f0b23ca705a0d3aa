"""`lei-exports status`: healthy or not, and what changed."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from typer.testing import CliRunner

from assets.cli.commands import app
from pipelines.snapshots.health import evaluate_health
from pipelines.snapshots.history import LAST_CHECKED, FailedRun
from pipelines.snapshots.rollback import rollback
from pipelines.snapshots.switch import record_failed_run
from tests.exporting import export, settings_for
from tests.integration.kit import run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.published import PublishedSources
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.fast]


def publish_rows(database: Database, export_dir: Path) -> None:
    fill_source(database, *random_rows(6, 60))
    export(settings_for(database, export_dir))


@pytest.fixture
def exports(
    database: Database, published_sources: PublishedSources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path / "exports"))
    published_sources.publish(database, tmp_path / "exports", publish_rows)
    return tmp_path / "exports"


def status(*options: str) -> dict[str, object]:
    reported: dict[str, object] = json.loads(CliRunner().invoke(app, ["status", "--json", *options]).stdout)
    return reported


def test_a_fresh_snapshot_is_healthy_and_an_old_look_is_not(exports: Path) -> None:
    assert status()["healthy"] is True
    assert CliRunner().invoke(app, ["status", "--check"]).exit_code == 0
    now = datetime.now(UTC)
    assert evaluate_health(exports, 25, now + timedelta(hours=24)).problems == ()
    (problem,) = evaluate_health(exports, 25, now + timedelta(hours=26)).problems
    assert problem.startswith("stale: the last successful look at the source was 26.0 h ago")
    (exports / LAST_CHECKED).write_text("{")
    (problem,) = evaluate_health(exports, 25, now + timedelta(hours=26)).problems
    assert problem.startswith("stale"), "without a record of looks, the snapshot's own instant counts"


def test_a_look_of_the_future_is_a_problem_and_clocks_may_differ_a_little(exports: Path) -> None:
    record = json.loads((exports / LAST_CHECKED).read_text())
    for ahead, healthy in ((timedelta(minutes=4), True), (timedelta(hours=30), False)):
        record["checked_at"] = (datetime.now(UTC) + ahead).isoformat()
        (exports / LAST_CHECKED).write_text(json.dumps(record))
        done = CliRunner().invoke(app, ["status", "--check"])
        assert done.exit_code == (0 if healthy else 1), done.stdout
        assert ("of the future" in done.stdout) is not healthy


def test_files_that_are_gone_or_cut_are_named(exports: Path) -> None:
    entities = next((exports / "current").glob("entities/*.parquet"))
    entities.unlink()
    database = exports / "current" / "exports.duckdb"
    database.chmod(0o644)
    database.write_bytes(database.read_bytes()[:-1])
    (problem,) = evaluate_health(exports, 25).problems
    assert "exports.duckdb" in problem
    assert "entities/0000.parquet" in problem
    done = CliRunner().invoke(app, ["status", "--check"])
    assert done.exit_code == 1
    assert "damaged" in done.stdout


def test_what_changed_and_a_rollback(exports: Path, database: Database) -> None:
    assert status()["changed"] == {}
    first = str(status()["snapshot"])
    run_sql(
        database, "INSERT INTO domains (id, domain, status, batch_id) VALUES (99999, 'n.example', 'success', 'new')"
    )
    export(settings_for(database, exports))
    reported = status()
    assert reported["changed"] == {
        "since": first,
        "domain_exports": "+1",
        "unique_domains": "+1",
        "batch_summaries": "+1",
    }
    said = CliRunner().invoke(app, ["status"]).stdout
    changed = "domain_exports +1, unique_domains +1, batch_summaries +1. 1 segment changed."
    assert f"Changed   Rows since sequence 1: {changed}\n" in said
    address = unquote(urlsplit(database.url).netloc.rpartition("@")[2])
    assert f"Source    database {database.name} at {address}, schema public, PostgreSQL " in said
    rollback(exports, first, now=lambda: datetime.now(UTC))
    (problem,) = evaluate_health(exports, 25).problems
    assert "rollback --release" in problem
    assert CliRunner().invoke(app, ["status", "--check"]).exit_code == 1


def test_a_run_that_failed_is_told_of_until_one_succeeds(exports: Path, database: Database) -> None:
    ended_at = datetime.now(UTC) + timedelta(seconds=1)
    record_failed_run(exports, FailedRun(ended_at=ended_at, run_id="r", how="failed", published=None))
    assert f"The last run failed at {ended_at:%Y-%m-%d %H:%M:%S} UTC. It published nothing.\n" in (
        CliRunner().invoke(app, ["status"]).stdout
    )
    record_failed_run(exports, FailedRun(ended_at=datetime.now(UTC), run_id="r", how="failed", published=None))
    export(settings_for(database, exports))
    assert status()["last_failed_run"] is None
    assert "Last run" not in CliRunner().invoke(app, ["status"]).stdout
