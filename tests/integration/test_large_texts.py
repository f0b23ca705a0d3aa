"""A text that DuckDB's memory is too small for stops the run by the setting's name; with more it is published."""

from pathlib import Path

import pytest

from pipelines.errors import PublishError, SnapshotError
from pipelines.snapshots.opening import current_snapshot
from pipelines.snapshots.verification import check_snapshot, failed_checks, raise_failed
from tests.exporting import export, settings_for
from tests.integration.kit import run_sql
from tests.memory import HUGE, HUGE_ID, HUGE_MB
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source

pytestmark = [pytest.mark.integration, pytest.mark.extended]


def test_a_text_of_200_mb_is_published_with_the_memory_for_it(database: Database, tmp_path: Path) -> None:
    fill_source(database)
    run_sql(database, *HUGE)
    with pytest.raises(PublishError, match="set DATABASE_MEMORY_MB to six times its size"):
        export(settings_for(database, tmp_path))
    assert current_snapshot(tmp_path) is None
    snapshot = export(settings_for(database, tmp_path, database_memory_mb=HUGE_MB))
    with snapshot.connect() as published:
        query = f"SELECT strlen(about_section_summary) FROM domain_exports WHERE domain_id = {HUGE_ID}"
        assert published.execute(query).fetchall() == [(8 * 26_214_400,)]
    assert failed_checks(check_snapshot(snapshot, memory_mb=HUGE_MB * 3 // 2)) == []
    with pytest.raises(SnapshotError, match="DuckDB needs more memory to verify a snapshot"):
        raise_failed(check_snapshot(snapshot, memory_mb=96), "damaged")
