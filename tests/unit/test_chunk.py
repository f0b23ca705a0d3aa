"""What connectorx gives becomes what is staged: all known columns, their types, no impossible values."""

from collections import Counter
from datetime import datetime
from typing import Any

import pyarrow as pa
import pytest

from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES, SourceTable, source_columns
from pipelines.errors import ContractError
from pipelines.source.chunk import INFINITE_MICROSECONDS, clean_chunk, staged_schema

pytestmark = pytest.mark.fast

NAN, INFINITY = float("nan"), float("inf")
LARGEST = 2**24
LAST, FIRST = INFINITE_MICROSECONDS


def clean(chunk: pa.Table, table: SourceTable = GLEIF_CANDIDATES) -> tuple[pa.Table, dict[str, int]]:
    columns = source_columns(table, include_full_data=False)
    nulled: Counter[str] = Counter()
    batches = clean_chunk(chunk, table, columns, nulled)
    return pa.Table.from_batches(batches, staged_schema(columns)), dict(nulled)


def chunk_of(**columns: pa.Array) -> pa.Table:
    rows = len(next(iter(columns.values())))
    return pa.table({"id": pa.array(range(rows), pa.int32()), **columns})


def test_columns_are_the_known_ones_in_their_order() -> None:
    cleaned, nulled = clean(chunk_of(legal_name=pa.array(["é", None]), domain_id=pa.array([1, None], pa.int32())))
    assert cleaned.schema == staged_schema(source_columns(GLEIF_CANDIDATES, include_full_data=False))
    assert cleaned.column_names[:4] == ["id", "domain_id", "lei_code", "legal_name"]
    assert "gleif_full_data" not in cleaned.column_names
    assert cleaned["legal_name"].to_pylist() == ["é", None]
    assert cleaned["lei_code"].null_count == 2
    assert nulled == {}


@pytest.mark.parametrize(
    ("values", "expected", "count"),
    [
        ([NAN, INFINITY, -INFINITY, None, 1.5, -0.0], [None, None, None, None, 1.5, -0.0], 3),
        ([None, None], [None, None], 0),
        ([3.4028234663852886e38, 1e-45], [3.4028234663852886e38, 1.401298464324817e-45], 0),
    ],
)
def test_reals(values: list[Any], expected: list[Any], count: int) -> None:
    cleaned, nulled = clean(chunk_of(weighted_score=pa.array(values, pa.float32())))
    assert list(map(repr, cleaned["weighted_score"].to_pylist())) == list(map(repr, expected))
    assert nulled == ({"gleif_candidates.weighted_score": count} if count else {})


@pytest.mark.parametrize("dtype", [pa.int16(), pa.int32()])
def test_whole_numbers_become_reals(dtype: pa.DataType) -> None:
    values = [0, -1, 32767, -32768, None] + ([LARGEST, -LARGEST] if dtype == pa.int32() else [])
    cleaned, nulled = clean(chunk_of(weighted_score=pa.array(values, dtype)))
    assert cleaned["weighted_score"].to_pylist() == values
    assert cleaned["weighted_score"].type == pa.float32()
    assert nulled == {}


@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, 2**31 - 1, -(2**31)])
def test_whole_number_that_is_no_real(value: int) -> None:
    chunk = pa.table(
        {"id": pa.array([10, 11, 12], pa.int32()), "confidence_score": pa.array([None, LARGEST, value], pa.int32())}
    )
    with pytest.raises(ContractError, match=r"domains\.confidence_score.*id 12") as caught:
        clean(chunk, DOMAINS)
    assert str(value) not in str(caught.value)


def test_only_missing_whole_numbers() -> None:
    cleaned, _ = clean(chunk_of(weighted_score=pa.array([None, None], pa.int32())))
    assert cleaned["weighted_score"].to_pylist() == [None, None]


def test_timestamps() -> None:
    values = [LAST, FIRST, LAST - 1, FIRST + 1, 0, -1, None]
    cleaned, nulled = clean(chunk_of(created_at=pa.array(values, pa.timestamp("us"))))
    micros = cleaned["created_at"].combine_chunks().view(pa.int64()).to_pylist()
    assert micros == [None, None, LAST - 1, FIRST + 1, 0, -1, None]
    assert nulled == {"gleif_candidates.created_at": 2}


def test_counts_add_up_over_columns_and_chunks() -> None:
    nulled: Counter[str] = Counter({"domains.confidence_score": 5})
    chunk = pa.table(
        {
            "id": pa.array([1], pa.int32()),
            "confidence_score": pa.array([NAN], pa.float32()),
            "created_at": pa.array([LAST], pa.timestamp("us")),
            "processed_at": pa.array([FIRST], pa.timestamp("us")),
        }
    )
    clean_chunk(chunk, DOMAINS, source_columns(DOMAINS, include_full_data=False), nulled)
    assert nulled == {"domains.confidence_score": 6, "domains.created_at": 1, "domains.processed_at": 1}


def test_chunks_of_a_chunk_become_one() -> None:
    when = datetime(2025, 6, 24)  # noqa: DTZ001  timestamps are UTC without zone
    part = chunk_of(
        legal_name=pa.array(["a", None]),
        weighted_score=pa.array([NAN, 1], pa.float32()),
        created_at=pa.array([when, None], pa.timestamp("us")),
    )
    chunk = pa.concat_tables([part, part.slice(1), part.slice(0, 0), part.slice(0, 1)])
    assert chunk.column("id").num_chunks > 1
    columns = source_columns(GLEIF_CANDIDATES, include_full_data=False)
    nulled: Counter[str] = Counter()
    (batch,) = clean_chunk(chunk, GLEIF_CANDIDATES, columns, nulled)
    assert batch["legal_name"].to_pylist() == ["a", None, None, "a"]
    assert batch["weighted_score"].to_pylist() == [None, 1, 1, None]
    assert batch["created_at"].to_pylist() == [when, None, None, when]
    assert nulled == {"gleif_candidates.weighted_score": 2}


@pytest.mark.parametrize("chunk", [chunk_of(domain_id=pa.array([], pa.int32())), chunk_of(x=pa.array([1])).slice(1)])
def test_chunk_without_rows(chunk: pa.Table) -> None:
    cleaned, nulled = clean(chunk)
    assert cleaned.num_rows == 0
    assert nulled == {}


def test_slice_of_larger_arrays() -> None:
    whole = chunk_of(
        weighted_score=pa.array([NAN, 1, NAN, 3], pa.float32()),
        created_at=pa.array([LAST, 1, FIRST, 3], pa.timestamp("us")),
    )
    cleaned, nulled = clean(whole.slice(1, 2))
    assert cleaned["id"].to_pylist() == [1, 2]
    assert cleaned["weighted_score"].to_pylist() == [1, None]
    assert cleaned["created_at"].combine_chunks().view(pa.int64()).to_pylist() == [1, None]
    assert nulled == {"gleif_candidates.weighted_score": 1, "gleif_candidates.created_at": 1}


@pytest.mark.parametrize("table", [DOMAINS, GLEIF_CANDIDATES])
def test_row_without_id(table: SourceTable) -> None:
    with pytest.raises(ContractError, match=f"{table.name} has rows without id.*2 or more rows"):
        clean(pa.table({"id": pa.array([1, None, None], pa.int32())}), table)
