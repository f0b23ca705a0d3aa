"""The bare run of the benchmark: it publishes what a run publishes, and checks nothing of it."""

from pathlib import Path

import pytest

from bench.bare import run_bare
from pipelines.snapshots.opening import published_snapshot
from pipelines.snapshots.verification import failed_checks, verify_files
from tests.exporting import assert_agrees, export, settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows

pytestmark = pytest.mark.extended


def test_bare_is_the_same_rows_without_checks_and_digests(database: Database, tmp_path: Path) -> None:
    fill_source(database, *random_rows(5, 60))
    rows = run_bare(settings_for(database, tmp_path / "bare"))
    bare = published_snapshot(tmp_path / "bare")
    assert_agrees(database, bare)
    whole = export(settings_for(database, tmp_path / "whole"))
    assert rows == {table.name: table.rows for table in whole.manifest.tables}
    assert failed_checks(verify_files(bare)), "nothing has a digest"
    assert not failed_checks(verify_files(whole)), "what was left out is there again"
    looked_at = [check.metadata.get("rows", 0) for table in bare.manifest.tables for check in table.checks]
    assert not any(looked_at)
    assert {check.name for check in bare.manifest.checks} < {check.name for check in whole.manifest.checks}
