"""What is damaged, lost or out of time between two runs: found, named, and put right by the next one (DESIGN 4)."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.extraction import Acceptance
from pipelines.build.publication import ChecksFailedError
from pipelines.errors import SourceChangedError, SourceError
from pipelines.export import run_export
from pipelines.progress import Progress
from pipelines.settings import Settings
from pipelines.snapshots.health import evaluate_health
from pipelines.snapshots.lookup import wait_for_snapshot
from pipelines.snapshots.opening import Snapshot, list_snapshots, published_snapshot
from pipelines.snapshots.retention import prune_now
from pipelines.snapshots.rollback import release_rollback, rollback
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.kit import assert_says, run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.published import PublishedSources
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.extended]


def publish_two(database: Database, export_dir: Path) -> None:
    fill_source(database, *random_rows(12, 60))
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
    return published_snapshot(settings.export_dir)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.chmod(0o644)
    path.write_bytes(content)


@pytest.mark.standard
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


def cut_manifest(snapshot: Snapshot) -> None:
    path = snapshot.folder / "manifest.json"
    path.chmod(0o644)
    path.write_bytes(path.read_bytes()[:500])


def lose_manifest(snapshot: Snapshot) -> None:
    (snapshot.folder / "manifest.json").unlink()


def lose_folder(snapshot: Snapshot) -> None:
    shutil.rmtree(snapshot.folder)


def empty_manifest(snapshot: Snapshot) -> None:
    lose_manifest(snapshot)
    (snapshot.folder / "manifest.json").touch()


Damage = Callable[[Snapshot], None]
DAMAGES: list[Damage] = [cut_manifest, empty_manifest, lose_manifest, lose_folder]


@pytest.mark.standard
def test_a_current_that_was_renamed_is_read_until_the_next_run_replaces_it(
    database: Database, settings: Settings
) -> None:
    """Though the source is again as it was at the older snapshot; and once, not in every run."""
    before = current(settings)
    first = list_snapshots(settings.export_dir).snapshots[0].scan("domain_exports").select("retry_count").head(1)
    link = settings.export_dir / "current"
    before.folder.rename(before.folder.with_name("mine"))
    link.unlink()
    link.symlink_to("snapshots/mine")
    assert current(settings).manifest == before.manifest
    old = first.collect().item()
    number = "NULL" if old is None else old
    run_sql(database, f"UPDATE domains SET retry_count = {number} WHERE id = (SELECT min(id) FROM domains)")
    heard: list[Progress] = []
    assert run_export(settings, on_progress=heard.append) is not None
    assert any("snapshots/mine" in progress.what for progress in heard)
    after = current(settings)
    assert (after.manifest.sequence, after.folder.name) == (before.manifest.sequence + 1, after.manifest.id)
    assert_agrees(database, after)
    assert run_export(settings) is None
    assert current(settings) == after


@pytest.mark.parametrize("full_refresh", [False, True])
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_current_that_can_not_be_read_is_replaced_by_the_next_run(
    database: Database,
    settings: Settings,
    damage: Damage,
    full_refresh: bool,  # noqa: FBT001
) -> None:
    """Though nothing changed in the source; and the number is a new one, so that nobody who waits misses it."""
    before = current(settings)
    damage(before)
    health = evaluate_health(settings.export_dir, 25)
    assert health.snapshot is None
    assert any("manifest.json" in problem or "not there" in problem for problem in health.problems)
    assert run_export(settings, full_refresh=full_refresh) is not None
    after = current(settings)
    assert after.manifest.sequence == before.manifest.sequence + 1
    assert wait_for_snapshot(settings.export_dir, before.manifest.sequence, 0) == after
    verify_snapshot(after)
    assert_agrees(database, after)
    assert evaluate_health(settings.export_dir, 25).problems == ()
    assert run_export(settings) is None, "nothing changed since"


@pytest.mark.parametrize("damage", DAMAGES)
def test_the_only_snapshot_can_not_be_read(database: Database, settings: Settings, damage: Damage) -> None:
    """What the last run staged still tells which source is published, and how large it was."""
    prune_now(settings.export_dir, 1, 0, datetime.now(UTC))
    damage(current(settings))
    run_sql(
        database,
        "CREATE SCHEMA other; CREATE TABLE other.domains AS TABLE domains;"
        "CREATE TABLE other.gleif_candidates AS TABLE gleif_candidates",
    )
    with pytest.raises(SourceChangedError, match="another source"):
        run_export(settings.model_copy(update={"source_schema": "other"}))
    run_sql(database, "CREATE TABLE kept AS TABLE gleif_candidates", "TRUNCATE gleif_candidates")
    with pytest.raises(ChecksFailedError, match="source_not_shrunk"):
        run_export(settings)
    run_sql(database, "INSERT INTO gleif_candidates TABLE kept")
    assert export(settings).manifest.sequence == 3
    assert_agrees(database, current(settings))


def test_where_nothing_tells_which_source_was_published_the_operator_says_so(settings: Settings) -> None:
    prune_now(settings.export_dir, 1, 0, datetime.now(UTC), all_but_current=True)
    lose_manifest(current(settings))
    shutil.rmtree(settings.export_dir / "staging")
    with pytest.raises(SourceChangedError) as caught:
        run_export(settings)
    assert_says(caught.value, "not known which source", "--accept-new-source")
    assert export(settings, Acceptance(new_source=True)).manifest.sequence == 3


def test_a_rollback_leads_away_from_a_current_that_can_not_be_read(settings: Settings) -> None:
    older = list_snapshots(settings.export_dir).snapshots[0]
    cut_manifest(current(settings))
    hold = rollback(settings.export_dir, older.manifest.id, now=lambda: datetime.now(UTC))
    assert hold.snapshot_id == older.manifest.id
    assert current(settings) == older


def test_a_held_snapshot_that_can_not_be_read_stays_until_the_release(database: Database, settings: Settings) -> None:
    older = list_snapshots(settings.export_dir).snapshots[0]
    rollback(settings.export_dir, older.manifest.id, now=lambda: datetime.now(UTC))
    lose_manifest(older)
    assert run_export(settings) is None, "the newest snapshot is what the source holds"
    run_sql(database, "UPDATE domains SET retry_count = 5")
    publication = run_export(settings)
    assert publication is not None
    assert publication.held_at == older.manifest.id
    assert len(evaluate_health(settings.export_dir, 25).problems) == 2
    released = release_rollback(settings.export_dir, now=lambda: datetime.now(UTC))
    assert current(settings) == released
    assert released.manifest == publication.manifest


def test_a_clock_that_is_set_back(database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number decides what is newer, what stays and what is current; never the clock."""
    before = current(settings)
    real = datetime

    class SetBack(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return real.now(tz) - timedelta(days=400)

    for module in ("build.extraction", "build.publication", "build.stagings"):
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
    run_sql(database, "UPDATE gleif_candidates SET legal_form = '8888' WHERE id % 2 = 0")
    export(settings)
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
