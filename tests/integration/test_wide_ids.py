"""Ids of int8, from one end of it to the other: read, sorted, published, replaced and read again."""

import json
from collections import defaultdict
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.query.batch import batches
from pipelines.query.batch.batches import ChunkSize, open_batch
from pipelines.query.batch.files import BatchFormat, BatchOptions, stream_batch
from pipelines.query.database import open_database
from pipelines.query.queries import find_candidates_json
from pipelines.query.query_memory import QueryMemory
from pipelines.snapshots.opening import Snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.hostile import insert_hostile
from tests.hostile_values import ID_MAX, ID_MIN
from tests.integration.kit import run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import WIDE_IDS, create_source_tables

pytestmark = [pytest.mark.integration, pytest.mark.standard]


# Ids of a batch are read some at a time: one by one, or all at once.
@pytest.mark.parametrize(("segment_size", "planned_rows"), [(100, 1), (50_000, 100_000)])
def test_ids_beyond_int4(
    database: Database, tmp_path: Path, segment_size: int, planned_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batches, "_PLANNED_ROWS", planned_rows)
    with database.connect() as connection:
        create_source_tables(connection, columns=WIDE_IDS)
        insert_hostile(connection, "wide_ids")
    settings = settings_for(database, tmp_path, segment_size=segment_size)
    first = export(settings)
    assert_agrees(database, first)
    assert_readers_agree(first)
    # Rows at both ends of int8 are replaced, in a copy of exports.duckdb as well.
    run_sql(
        database,
        f"UPDATE gleif_candidates SET legal_name = 'other' WHERE domain_id IN ({ID_MIN}, {ID_MAX})",
        f"DELETE FROM domains WHERE id = {ID_MIN}",
        "UPDATE domains SET status = 'failed' WHERE id BETWEEN -2 AND 0",
    )
    snapshot = export(settings)
    assert_agrees(database, snapshot)
    assert_readers_agree(snapshot)


def assert_readers_agree(snapshot: Snapshot) -> None:
    """A batch as a file, and candidates of one row and of many, have the ids that Parquet has, in its order."""
    domains = snapshot.scan("domain_exports").select("batch_id", "domain_id").collect().rows()
    of_domain: dict[int, list[int]] = defaultdict(list)
    for owner, number in snapshot.scan("candidate_exports").select("domain_id", "candidate_id").collect().rows():
        of_domain[owner].append(number)
    for batch_id in {batch_id for batch_id, _ in domains}:
        for rows in (1, 1_000):
            with open_batch(snapshot, batch_id) as batch:
                text = b"".join(stream_batch(batch, BatchFormat.JSON, BatchOptions(size=ChunkSize(rows, rows))))
            found = [(row["domain_id"], [c["candidate_id"] for c in row["candidates"]]) for row in json.loads(text)]
            assert found == [(number, of_domain[number]) for batch, number in domains if batch == batch_id]
    with closing(open_database(snapshot, QueryMemory(64, "memory"))) as database, database.reader() as reader:
        keys = {"id": "candidate_id"}
        for number in [number for _, number in domains]:
            text = find_candidates_json(reader, number, keys)
            assert [row["id"] for row in json.loads(text)] == of_domain[number]
