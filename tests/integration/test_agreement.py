"""The export equals the SQL oracle, cell by cell, in both formats: on the sample, on real data, on hostile rows."""

from pathlib import Path

import pytest

from pipelines.build.stagings import latest_staging
from pipelines.export import hold_run
from pipelines.snapshots.opening import published_snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.hostile import TOPICS, insert_hostile
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, fill_source, insert_rows, load_csv_dir
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.standard]

SAMPLE = Path(__file__).resolve().parents[2] / "pipelines" / "sample" / "data"


def test_sample(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        rows = load_csv_dir(connection, SAMPLE)
    snapshot = export(settings_for(database, tmp_path))
    assert_agrees(database, snapshot)
    assert {name: r.rows for name, r in snapshot.manifest.source.relations.items()} == rows


@pytest.mark.parametrize("segment_size", [100, 1000, 50_000])
def test_real_rows(database: Database, tmp_path: Path, shared_data: Path, segment_size: int) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        load_csv_dir(connection, shared_data)
    snapshot = export(
        settings_for(database, tmp_path, segment_size=segment_size, include_full_data=segment_size == 1000)
    )
    assert_agrees(database, snapshot)


@pytest.mark.parametrize("topic", TOPICS)
def test_hostile_rows(database: Database, tmp_path: Path, topic: str) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_hostile(connection, topic)
    assert_agrees(database, export(settings_for(database, tmp_path)))


@pytest.mark.parametrize("include_full_data", [False, True])
def test_all_hostile_rows_at_once(database: Database, tmp_path: Path, *, include_full_data: bool) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_hostile(connection)
    snapshot = export(settings_for(database, tmp_path, segment_size=100, include_full_data=include_full_data))
    assert_agrees(database, snapshot)


@pytest.mark.parametrize("seed", [0, 1, 2, *(pytest.param(n, marks=pytest.mark.extended) for n in range(3, 12))])
def test_random_rows(database: Database, tmp_path: Path, seed: int) -> None:
    domains, candidates = random_rows(seed, 400)
    fill_source(database, domains, candidates)
    assert_agrees(database, export(settings_for(database, tmp_path, segment_size=100 + 300 * (seed % 2))))


def test_empty_tables(database: Database, tmp_path: Path) -> None:
    fill_source(database)
    snapshot = export(settings_for(database, tmp_path))
    assert_agrees(database, snapshot)
    assert [table.rows for table in snapshot.manifest.tables] == [0] * len(snapshot.manifest.tables)


def test_candidates_without_any_domain(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        rows = [
            {"id": number, "domain_id": number if number % 2 else None, "lei_code": "X", "legal_name": "Y"}
            for number in range(1, 500)
        ]
        insert_rows(connection, "gleif_candidates", rows)
    snapshot = export(settings_for(database, tmp_path, segment_size=100))
    assert_agrees(database, snapshot)
    assert snapshot.record_of("rejected_rows").rows == len(rows)


def test_tables_built_one_after_the_other(database: Database, tmp_path: Path) -> None:
    """Rows by key range are written where all tables are built together; else the derived tables find them."""
    fill_source(database, *random_rows(3, 400))
    with hold_run(settings_for(database, tmp_path, segment_size=100)) as run:
        run.stage()
        for name in ("rejected_rows", "candidate_exports", "domain_exports"):
            assert [record.name for record in run.build([name])] == [name]
        assert latest_staging(tmp_path).read_keys() is None
        run.derive(["entities"])
        run.derive(["unique_domains", "batch_summaries", "jurisdiction_summaries"])
        run.publish(in_process=True)
    snapshot = published_snapshot(tmp_path)
    assert_agrees(database, snapshot)
