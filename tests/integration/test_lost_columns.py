"""A known column that held values and is gone from the source is told, until it is back or accepted."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console
from typer.testing import CliRunner

from assets.cli.commands import app
from assets.cli.summary import show_publication
from pipelines.build.extraction import Acceptance, stage_source
from pipelines.contracts.records import CheckRecord
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.system.run_lock import hold_run_lock
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.kit import run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]

CHANGE = "UPDATE domains SET status = 'failed' WHERE id = {}"


@pytest.fixture
def settings(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A published source: company_name and legal_form hold values, selection_notes and match_method do not."""
    with database.connect() as connection:
        create_source_tables(connection)
        insert_source(
            connection,
            [
                {"id": n, "domain": f"d{n}.x", "status": "success", "batch_id": "b", "domain_hash": "0" * 32}
                | {"company_name": "Company" if n == 7 else None}
                for n in range(1, 10)
            ],
            [
                {"id": n, "domain_id": n, "lei_code": f"L{n}", "legal_name": "N", "legal_form": "8888"}
                for n in range(1, 10)
            ],
        )
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path))
    settings = settings_for(database, tmp_path)
    export(settings)
    return settings


def checks_of(snapshot: Snapshot) -> dict[str, CheckRecord]:
    return {check.table: check for check in snapshot.manifest.checks if check.name == "known_columns_kept"}


def lost(snapshot: Snapshot) -> dict[str, list[str]]:
    """What the checks of a snapshot say is lost, by table; `status` must say the same."""
    checks = checks_of(snapshot)
    assert set(checks) == {"domains", "gleif_candidates"}
    assert {check.severity for check in checks.values()} == {"warn"}
    found = {table: check.metadata["lost"] for table, check in checks.items() if not check.passed}
    status = CliRunner().invoke(app, ["status", "--json", "--check"])
    assert status.exit_code == (1 if found else 0)
    problems = json.loads(status.stdout)["problems"]
    assert len(problems) == len(found and [found])
    names = [f"{table}.{column}" for table, columns in found.items() for column in columns]
    assert all(name in problems[0] for name in names)
    shown = CliRunner().invoke(app, ["status"]).stdout.replace("\n", " ")
    assert all(name in shown for name in names)
    return found


def test_nothing_is_lost_at_first(settings: Settings) -> None:
    snapshot = published_snapshot(settings.export_dir)
    assert lost(snapshot) == {}


def test_a_renamed_column_is_told_until_it_is_back(database: Database, settings: Settings) -> None:
    run_sql(database, 'ALTER TABLE domains RENAME company_name TO "companyName"')
    snapshot = export(settings)
    assert_agrees(database, snapshot)
    assert lost(snapshot) == {"domains": ["company_name"]}
    terminal = Console(file=io.StringIO(), width=200)
    show_publication(terminal, snapshot.manifest, {}, "", 1.0)
    shown = " ".join(terminal.file.getvalue().split())  # type: ignore[attr-defined]
    assert "known_columns_kept does not hold for domains" in shown
    assert "lost: company_name" in shown
    assert checks_of(snapshot)["domains"].metadata["unknown_columns"] == ["companyName"]
    # A run that finds nothing changed says it too.
    with hold_run_lock(settings.export_dir) as lock:
        staged = stage_source(settings, lock)
    assert staged.unchanged_since is not None
    assert staged.unchanged_since.manifest.id == snapshot.manifest.id
    assert [(c.table, c.metadata["lost"]) for c in staged.checks if not c.passed] == [("domains", ["company_name"])]
    # In later snapshots too, though the one before has no value any more; another one is lost beside it.
    run_sql(database, CHANGE.format(3))
    assert lost(export(settings)) == {"domains": ["company_name"]}
    run_sql(database, "ALTER TABLE gleif_candidates DROP COLUMN legal_form")
    assert lost(export(settings)) == {"domains": ["company_name"], "gleif_candidates": ["legal_form"]}
    run_sql(database, 'ALTER TABLE domains RENAME "companyName" TO company_name')
    snapshot = export(settings)
    assert lost(snapshot) == {"gleif_candidates": ["legal_form"]}
    assert_agrees(database, snapshot)


def test_a_column_that_is_back_without_values_is_told_no_more(database: Database, settings: Settings) -> None:
    """Its NULLs are what is published already, so no row changed; the next run finds nothing to publish."""
    run_sql(database, "ALTER TABLE domains DROP COLUMN company_name")
    before = export(settings)
    assert lost(before) == {"domains": ["company_name"]}
    run_sql(database, "ALTER TABLE domains ADD COLUMN company_name text")
    snapshot = export(settings)
    assert lost(snapshot) == {}
    assert snapshot.manifest.sequence == before.manifest.sequence + 1
    assert snapshot.manifest.base_snapshot == before.manifest.id
    assert_agrees(database, snapshot)
    for name in snapshot.table_names:
        assert [file.stat().st_ino for file in snapshot.parquet_files(name)] == [
            file.stat().st_ino for file in before.parquet_files(name)
        ]
    assert export(settings) == snapshot


@pytest.mark.parametrize("is_published", [False, True], ids=["in_the_run_that_finds_it", "later"])
def test_a_loss_can_be_accepted(database: Database, settings: Settings, *, is_published: bool) -> None:
    run_sql(database, "ALTER TABLE domains DROP COLUMN company_name")
    if is_published:
        assert lost(export(settings)) == {"domains": ["company_name"]}
    snapshot = export(settings, Acceptance(shrink=True))
    assert lost(snapshot) == {}
    assert snapshot.manifest.sequence == (3 if is_published else 2)
    run_sql(database, CHANGE.format(4))
    assert lost(export(settings)) == {}
    # Back, filled and lost again.
    run_sql(database, "ALTER TABLE domains ADD COLUMN company_name text DEFAULT 'Company'")
    export(settings)
    run_sql(database, "ALTER TABLE domains DROP COLUMN company_name")
    assert lost(export(settings)) == {"domains": ["company_name"]}


def test_what_held_no_value_or_is_computed_is_not_lost(database: Database, settings: Settings) -> None:
    run_sql(
        database,
        "ALTER TABLE domains DROP COLUMN selection_notes, DROP COLUMN domain_hash",
        "ALTER TABLE gleif_candidates DROP COLUMN gleif_full_data, DROP COLUMN match_method",
    )
    assert lost(export(settings)) == {}


def test_full_data_is_lost_only_where_it_was_published(
    database: Database, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_sql(database, "UPDATE gleif_candidates SET gleif_full_data = '{}'")
    with_full_data = settings_for(database, tmp_path / "full", include_full_data=True)
    export(with_full_data)
    assert lost(export(settings)) == {}
    run_sql(database, "ALTER TABLE gleif_candidates DROP COLUMN gleif_full_data")
    assert lost(export(settings)) == {}
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path / "full"))
    assert lost(export(with_full_data)) == {"gleif_candidates": ["gleif_full_data"]}


def test_another_source_is_not_compared(database: Database, settings: Settings) -> None:
    run_sql(
        database,
        "CREATE SCHEMA other",
        "CREATE TABLE other.domains AS TABLE domains",
        "CREATE TABLE other.gleif_candidates AS TABLE gleif_candidates",
        "ALTER TABLE other.domains DROP COLUMN company_name",
    )
    other = settings.model_copy(update={"source_schema": "other"})
    assert lost(export(other, Acceptance(new_source=True))) == {}


def test_a_column_of_a_damaged_snapshot_counts_as_filled(database: Database, settings: Settings) -> None:
    next((settings.export_dir / "current" / "domain_exports").iterdir()).unlink()
    run_sql(database, "ALTER TABLE domains DROP COLUMN selection_notes")
    with hold_run_lock(settings.export_dir) as lock:
        staged = stage_source(settings, lock)
    assert staged.record.lost_columns == {"domains": ("selection_notes",)}
