"""Parquet, against the snapshot's own Parquet files, read by Polars and pyarrow."""

import io

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from polars.testing import assert_frame_equal

from pipelines.reading.batch import parquet_format
from pipelines.reading.batch.batches import ChunkSize, open_batch
from pipelines.reading.batch.parquet_format import write_parquet
from tests.batch.conftest import Exported
from tests.batch.kit import file_of, nested_frame, sample_of

pytestmark = pytest.mark.integration


def test_every_value_and_type_is_the_snapshots(exported: Exported) -> None:
    for batch_id in sample_of(exported.cells, 15):
        read = pl.read_parquet(io.BytesIO(file_of(exported.snapshot, batch_id, "parquet")))
        assert_frame_equal(read, nested_frame(exported.snapshot, batch_id), check_exact=True)


def test_types_for_pyarrow_and_where_it_came_from(awkward: Exported) -> None:
    file = pq.ParquetFile(io.BytesIO(file_of(awkward.snapshot, "a/b", "parquet")))
    schema = file.schema_arrow
    assert schema.field("confidence_score").type == pa.float32()
    assert schema.field("gleif_candidate_count").type == pa.uint32()
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
