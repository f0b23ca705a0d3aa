"""A run that is killed at any moment leaves a snapshot that verifies, and the next run needs no help (DESIGN 4)."""

from pathlib import Path

import pytest

from pipelines.settings import Settings
from pipelines.snapshots.opening import published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.killing import run_and_kill_after, run_and_kill_at_rename, run_and_measure
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.standard]

# How many are tried: a few each time, many in `make test-all`.
FEW, MANY = 4, 20
_TRIES = 3


@pytest.fixture
def published(database: Database, tmp_path: Path) -> Settings:
    """Settings of a source that is published already."""
    fill_source(database, *random_rows(7, 300))
    settings = settings_for(database, tmp_path, segment_size=300)
    export(settings)
    return settings


@pytest.mark.parametrize("moments", [FEW, pytest.param(MANY, marks=pytest.mark.extended)])
def test_killed_at_moments_spread_over_a_run(database: Database, published: Settings, moments: int) -> None:
    seconds, _ = run_and_measure(published)
    killed = 0
    for moment in range(moments):
        for _ in range(_TRIES):
            change_something(database, moment)
            if run_and_kill_after(published, seconds * (moment + 0.5) / moments):
                killed += 1
                break
            # The run had ended: the machine was busier when one was measured.
            change_something(database, moment)
            seconds = min(seconds, run_and_measure(published)[0])
        assert_nothing_is_broken(published)
    # The last moments may lie behind the end of a run that was faster than the measured one.
    assert killed >= moments * 3 // 4
    assert_recovers(database, published)


@pytest.mark.extended
def test_killed_right_before_and_after_each_rename(database: Database, published: Settings) -> None:
    change_something(database, 0)
    _, renames = run_and_measure(published)
    assert {"staging/*/staging.json", "staging/latest", "snapshots/*", "current"} <= set(renames)
    for number, kind in enumerate(renames):
        for before in (True, False):
            change_something(database, number)
            run_and_kill_at_rename(published, kind, before=before)
            assert_nothing_is_broken(published)
    assert_recovers(database, published)


def change_something(database: Database, number: int) -> None:
    """Change what every table depends on, each time again: so every run writes the same files."""
    with database.connect() as connection:
        connection.execute(
            "UPDATE domains SET company_name = %s, processing_time_ms = coalesce(processing_time_ms, 0) %% 1000 + 1",
            (f"changed {number}",),
        )
        connection.execute(
            "UPDATE gleif_candidates SET legal_form = legal_form || '!', jurisdiction = jurisdiction || 'X'"
            " WHERE id %% 3 = %s",
            (number % 3,),
        )


def assert_nothing_is_broken(settings: Settings) -> None:
    """`current` verifies after the kill; the next run, without help, succeeds and leaves nothing behind."""
    snapshot = published_snapshot(settings.export_dir)
    verify_snapshot(snapshot)
    before = snapshot.manifest.sequence
    after = export(settings)
    assert after.manifest.sequence >= before, "the same where the killed run had published already"
    leftovers = [path.name for path in (settings.export_dir / "snapshots").iterdir() if path.name.startswith(".")]
    assert leftovers == []
    assert len(list((settings.export_dir / "staging").glob("*/"))) == 1


def assert_recovers(database: Database, settings: Settings) -> None:
    snapshot = export(settings)
    verify_snapshot(snapshot)
    assert_agrees(database, snapshot)
