"""Parquet, against the snapshot's own Parquet files, read by Polars and pyarrow."""

import io
from dataclasses import replace
from typing import cast

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipelines.query.batch import parquet_format
from pipelines.query.batch.batches import open_batch
from pipelines.query.batch.chunks import ChunkQueries, ChunkSize
from pipelines.query.batch.parquet_format import _nested_rows, write_parquet
from tests.batch.conftest import Exported
from tests.batch.kit import file_of, nested_frame, sample_of

pytestmark = [pytest.mark.integration, pytest.mark.fast]


class _DamagedChunk:
    """A chunk of a file that has candidates of a domain row that it has not: 2, between 1 and 3."""

    def table(self, sql: str) -> pa.Table:
        if "candidate_exports" in sql:
            return pa.table({"domain_id": [1, 2, 2, 3], "lei_code": ["a", "b", "c", "d"]})
        return pa.table({"domain_id": [1, 3, 4]})


def test_candidates_without_a_domain_row_are_given_to_no_other(awkward: Exported) -> None:
    with open_batch(awkward.snapshot, "a/b") as batch:
        narrow = replace(batch, domain_columns={"domain_id": "INTEGER"}, candidate_columns={"lei_code": "VARCHAR"})
        rows = _nested_rows(narrow, cast("ChunkQueries", _DamagedChunk()))
    assert rows.column("candidates").to_pylist() == [[{"lei_code": "a"}], [{"lei_code": "d"}], []]


def test_every_value_and_type_is_the_snapshots(exported: Exported) -> None:
    for batch_id in sample_of(exported.cells, 15):
        read = pl.read_parquet(io.BytesIO(file_of(exported.snapshot, batch_id, "parquet")))
        assert_frame_equal(read, nested_frame(exported.snapshot, batch_id), check_exact=True)


def test_types_for_pyarrow_and_where_it_came_from(awkward: Exported) -> None:
    file = pq.ParquetFile(io.BytesIO(file_of(awkward.snapshot, "a/b", "parquet")))
    schema = file.schema_arrow
    assert schema.field("confidence_score").type == pa.float32()
    assert schema.field("gleif_candidate_count").type == pa.int64()
    assert schema.field("created_at").type == pa.timestamp("us")
    assert pa.types.is_struct(schema.field("candidates").type.value_type)
    metadata = file.metadata.metadata
    assert metadata[b"snapshot"].decode() == awkward.snapshot.manifest.id
    assert metadata[b"batch_id"] == b"a/b"
    rows = file.read().to_pylist()
    assert rows[0]["candidates"][1]["lei_code"] == "300300E1000862000093"
    assert rows[0]["created_at"].microsecond == 390999, "all of it, no milliseconds"


def test_small_row_groups_hold_the_same_rows(sample: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_format, "_ROW_GROUP", 3)
    batch_id = max(sample.cells, key=lambda name: len(sample.cells[name]))
    with io.BytesIO() as target, open_batch(sample.snapshot, batch_id) as batch:
        write_parquet(batch, target, ChunkSize(3, 10))
        assert pq.ParquetFile(target).num_row_groups > 3
        read = pl.read_parquet(io.BytesIO(target.getvalue()))
    assert_frame_equal(read, nested_frame(sample.snapshot, batch_id), check_exact=True)
