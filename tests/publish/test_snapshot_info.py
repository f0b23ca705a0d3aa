"""exports.duckdb says which snapshot it is, wherever it is copied to."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pytest

from pipelines.contracts.records import Manifest
from pipelines.contracts.version import CONTRACT_VERSION
from tests.publish.kit import BEGIN, Kit, new_id, staging_record

pytestmark = pytest.mark.standard

COLUMNS = {
    "snapshot_id": "VARCHAR",
    "sequence": "BIGINT",
    "source": "VARCHAR",
    "instant": "TIMESTAMP",
    "contract_version": "VARCHAR",
    "published_at": "TIMESTAMP",
}


def info(database: Path) -> list[tuple[object, ...]]:
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.sql("FROM snapshot_info")
        assert dict(zip(found.columns, map(str, found.types), strict=True)) == COLUMNS
        return found.fetchall()


def wanted(manifest: Manifest, sequence: int, instant: datetime) -> list[tuple[object, ...]]:
    times = [time.astimezone(UTC).replace(tzinfo=None) for time in (instant, manifest.created_at)]
    return [(manifest.id, sequence, "7/app/public", times[0], CONTRACT_VERSION, times[1])]


def test_a_file_names_its_snapshot_built_or_changed(kit: Kit, tmp_path: Path) -> None:
    instant = BEGIN.astimezone(UTC) + timedelta(microseconds=390_000)
    for number in (1, 2, 3):
        options = {"staging": staging_record(new_id(1)), "built": None}
        if number > 1:  # a changed copy of the file before
            options = kit.stage_changes(number, {0: range(1, 6 + number)})
        staging = options["staging"]
        source = staging.source.model_copy(update={"identity": "7/app/public", "snapshot_at": instant})
        manifest = kit.publish(number, **{**options, "staging": staging.model_copy(update={"source": source})})
        assert (manifest.base_snapshot is None) == (number == 1)
        database = kit.current().database_path
        assert info(database) == wanted(manifest, number, instant)
        # The file alone, far from its manifest.
        assert info(shutil.copy(database, tmp_path / f"{number}.duckdb")) == wanted(manifest, number, instant)
        instant += timedelta(days=1, microseconds=1)


def test_an_older_snapshot_keeps_its_own(published: Kit) -> None:
    older = published.current()
    published.publish_changes(2, {0: range(1, 9), 1: range(100, 104)})
    assert [row[:2] for row in info(older.database_path)] == [(new_id(1), 1)]
    assert [row[:2] for row in info(published.current().database_path)] == [(new_id(2), 2)]
