"""What is damaged, lost or out of time between two runs: found, named, and put right by the next one (DESIGN 4)."""

import shutil
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import SnapshotError, SourceError
from pipelines.progress import Progress
from pipelines.publish.rollback import rollback
from pipelines.reading.snapshots import Snapshot, current_snapshot, list_snapshots
from pipelines.reading.verification import verify_snapshot
from pipelines.run.export import run_export
from pipelines.settings import Settings
from tests.exporting import export, settings_for
from tests.hostile import random_rows
from tests.integration.kit import assert_says, run_sql
from tests.integration.test_incremental import assert_agrees
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source
from tests.published import PublishedSources

pytestmark = [pytest.mark.integration, pytest.mark.standard]


def publish_two(database: Database, export_dir: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_source(connection, *random_rows(12, 60))
    settings = settings_for(database, export_dir, segment_size=100)
    export(settings)
    run_sql(database, "UPDATE domains SET retry_count = 1 WHERE id = (SELECT min(id) FROM domains)")
    export(settings)


@pytest.fixture
def settings(database: Database, published_sources: PublishedSources, tmp_path: Path) -> Settings:
    """Settings of a source that is published, in two snapshots."""
    published_sources.publish(database, tmp_path / "exports", publish_two)
    return settings_for(database, tmp_path / "exports", segment_size=100)


def current(settings: Settings) -> Snapshot:
    snapshot = current_snapshot(settings.export_dir)
    assert snapshot is not None
    return snapshot


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "changed"),
    [("missing Parquet", False), ("missing Parquet", True), ("missing DuckDB", True), ("damaged DuckDB", False)],
)
def test_a_damaged_file_is_named_and_rebuilt(
    database: Database,
    settings: Settings,
    damage: str,
    changed: bool,  # noqa: FBT001
) -> None:
    before = current(settings)
    victim = before.database_path if "DuckDB" in damage else before.parquet_files("domain_exports")[0]
    flip(victim) if damage.startswith("damaged") else victim.unlink()
    if changed:
        run_sql(database, "UPDATE domains SET retry_count = 2 WHERE id = (SELECT max(id) FROM domains)")
    heard: list[Progress] = []
    publication = run_export(settings, on_progress=heard.append)
    assert publication is not None, "a damaged snapshot is not what the source holds"
    assert any(victim.name in progress.what and before.manifest.id in progress.what for progress in heard)
    after = current(settings)
    assert after.manifest.sequence == before.manifest.sequence + 1
    verify_snapshot(after)
    assert_agrees(database, after)


@pytest.mark.parametrize("damage", ["manifest", "current"])
def test_what_can_not_be_read_stops_the_run_and_names_the_way_out(settings: Settings, damage: str) -> None:
    """Then the run can't know which source is published: it must not put another one over it."""
    before = current(settings)
    if damage == "manifest":
        path = before.folder / "manifest.json"
        path.chmod(0o644)
        path.write_text("{", encoding="utf-8")
    else:
        shutil.rmtree(before.folder)
    with pytest.raises(SnapshotError) as caught:
        run_export(settings)
    assert_says(caught.value, "manifest.json" if damage == "manifest" else "current")
    # The way out: an older one.
    older = list_snapshots(settings.export_dir).snapshots[0]
    hold = rollback(settings.export_dir, older.manifest.id, now=datetime.now)
    assert hold.snapshot_id == older.manifest.id
    (settings.export_dir / "rollback.json").unlink()
    assert export(settings).manifest.sequence >= older.manifest.sequence
    verify_snapshot(current(settings))


def test_a_clock_that_is_set_back(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number decides what is newer, what stays and what is current; never the clock."""
    before = current(settings)
    real = datetime

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return real.now(tz) - timedelta(days=400)

    for module in ("run.extraction", "run.publication"):
        monkeypatch.setattr(f"pipelines.{module}.datetime", SetBack)
    kept = settings.model_copy(update={"keep_snapshots": 2, "keep_hours": 0})
    run_sql(database, "UPDATE domains SET retry_count = 3")
    after = export(kept)
    assert after.manifest.id < before.manifest.id, "its name is of the clock"
    assert after.manifest.sequence == before.manifest.sequence + 1
    assert current(settings).manifest.id == after.manifest.id
    assert [s.manifest.sequence for s in list_snapshots(settings.export_dir).snapshots][-1] == after.manifest.sequence
    assert_agrees(database, after)
    assert export(kept).manifest.id == after.manifest.id


def test_columns_that_go_between_two_runs(database: Database, settings: Settings) -> None:
    run_sql(database, "ALTER TABLE gleif_candidates DROP COLUMN legal_form")
    snapshot = export(settings)
    assert snapshot.manifest.source.relations["gleif_candidates"].absent == ("legal_form",)
    assert_agrees(database, snapshot)
    run_sql(database, "ALTER TABLE gleif_candidates RENAME COLUMN lei_code TO lei")
    with pytest.raises(SourceError) as caught:
        run_export(settings)
    assert_says(caught.value, "required column lei_code", "is missing")
    assert current(settings).manifest.id == snapshot.manifest.id
    verify_snapshot(snapshot)
