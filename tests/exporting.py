"""Runs the export in process against a test database, as the assets do, but without Dagster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pipelines.build.extraction import NOTHING_ACCEPTED, Acceptance
from pipelines.contracts.tables import published_tables
from pipelines.export import run_export
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.settings import Settings, load_settings
from pipelines.snapshots.opening import Snapshot, published_snapshot
from tests.oracle.compare import assert_formats
from tests.oracle.postgres import Database


def settings_for(database: Database, export_dir: Path, **overrides: Any) -> Settings:
    """Settings of a run that reads a test database."""
    return load_settings({"database_url": SecretStr(database.url), "export_dir": export_dir, **overrides})


def export(
    settings: Settings,
    accepted: Acceptance = NOTHING_ACCEPTED,
    on_progress: OnProgress = ignore_progress,
    *,
    full_refresh: bool = False,
) -> Snapshot:
    """Run the export; the snapshot that is current then, new or (where nothing changed) the one before."""
    publication = run_export(settings, accepted, on_progress, full_refresh=full_refresh, in_process=True)
    snapshot = published_snapshot(settings.export_dir)
    assert publication is None or snapshot.manifest == publication.manifest
    return snapshot


def before_it_reads(action: Callable[[], object]) -> OnProgress:
    """A listener that acts once: the run's transaction has its snapshot, and no row was asked for."""
    actions = [action]

    def listen(message: Progress) -> None:
        while message.what == "segments of both tables" and actions:
            actions.pop()()

    return listen


def while_it_reads(action: Callable[[], object]) -> OnProgress:
    """A listener that acts whenever rows of a table have come; the read goes on when it is done."""

    def listen(message: Progress) -> None:
        if message.stage == "read" and message.done:
            action()

    return listen


def assert_agrees(database: Database, snapshot: Snapshot, schema: str = "public") -> None:
    """Every column, cell, type and order of every table equals the oracle's, in DuckDB and in Parquet."""
    full, is_rebuilt = snapshot.manifest.include_full_data, snapshot.manifest.base_snapshot is None
    tables = published_tables(include_full_data=full)
    with database.connect() as connection:
        assert_formats(connection, snapshot.folder, tables, schema, include_full_data=full, is_rebuilt=is_rebuilt)
