"""Rows go to the segment of their domain id, each once, whatever the ids (DESIGN 3.5)."""

from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts.segments import segment_of
from pipelines.contracts.source import GLEIF_CANDIDATES
from pipelines.errors import StagingError
from pipelines.extract.scatter import SegmentFiles, _split
from pipelines.staging.folder import StagingFolder

pytestmark = pytest.mark.fast

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
ids_anywhere = st.one_of(st.none(), st.integers(INT_MIN, INT_MAX), st.integers(-1000, 1000))


def batch_of(ids: list[int | None]) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "id": pa.array(range(len(ids)), pa.int32()),
            "domain_id": pa.array(ids, pa.int32()),
            "name": pa.array([None if n % 3 == 0 else f"ü{n}" for n in range(len(ids))], pa.string()),
        }
    )


def naive(ids: list[int | None], size: int) -> dict[int | None, list[int]]:
    groups: dict[int | None, list[int]] = defaultdict(list)
    for place, number in enumerate(ids):
        groups[None if number is None else segment_of(number, size)].append(place)
    return groups


def check(ids: list[int | None], size: int) -> None:
    batch = batch_of(ids)
    parts = _split(batch, "domain_id", size)
    expected = naive(ids, size)
    assert {segment: part["id"].to_pylist() for segment, part in parts} == expected
    assert len(parts) == len(expected)
    for _, part in parts:
        part.validate(full=True)
        assert part.equals(batch.take(part["id"]))
        # What is written holds its own rows and no more.
        assert pa.ipc.read_record_batch(part.serialize(), part.schema).equals(part)


@settings(max_examples=150, deadline=None)
@given(ids=st.lists(ids_anywhere, max_size=60), size=st.sampled_from([100, 101, 50_000, 1_000_000]))
def test_like_a_naive_grouping(ids: list[int | None], size: int) -> None:
    check(ids, size)


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.integers(-500, 500), min_size=1, max_size=60).map(sorted))
def test_rows_in_order(ids: list[int | None]) -> None:
    check(ids, 100)


@pytest.mark.parametrize(
    "ids",
    [
        [],
        [None],
        [None, None, None],
        [5],
        [7, 3, 99, 0],
        [-1, 0, -100, -101, 100],
        [INT_MAX, INT_MIN],
        [INT_MIN, INT_MAX, None, 0],
        # 65,536 segments from first to last, and one more: two ways to sort.
        [65_535 * 100, 5, 0],
        [65_536 * 100, 5, 0],
        [65_536 * 100 + 5, 6, 65_536 * 100 + 1, 65_535 * 100, 1],
        [-(30_000 * 100), 35_535 * 100, 35_536 * 100, -1],
    ],
)
def test_edges(ids: list[int | None]) -> None:
    check(ids, 100)


def test_files_of_many_threads(tmp_path: Path) -> None:
    staging = StagingFolder(tmp_path / "one")
    files = SegmentFiles(staging, 100)
    batches = []
    for number in range(40):
        ids = pa.array([(number * 37 + n * 13) % 1000 for n in range(50)], pa.int32())
        own = pa.array(range(number * 50, number * 50 + 50), pa.int32())
        batches.append(pa.record_batch({"id": own, "domain_id": ids}))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda batch: files.append(GLEIF_CANDIDATES, batch), batches))
    everything = pl.DataFrame(pa.Table.from_batches(batches))
    found = []
    for segment in files.segments():
        path = staging.source_file(GLEIF_CANDIDATES.name, segment.segment, 100)
        frame = pl.read_ipc_stream(path)
        assert segment.segment is not None
        assert (frame["domain_id"] // 100 == segment.segment).all()
        assert segment.rows == {GLEIF_CANDIDATES.name: frame.height}
        found.append(frame)
    assert pl.concat(found).sort("id").equals(everything.sort("id"))
    assert files.rows() == {GLEIF_CANDIDATES.name: 2000}
    assert [segment.segment for segment in files.segments()] == sorted(range(10))


def test_null_segment_is_last(tmp_path: Path) -> None:
    files = SegmentFiles(StagingFolder(tmp_path / "one"), 100)
    files.append(GLEIF_CANDIDATES, batch_of([None, 500, -500, 0]))
    assert [segment.segment for segment in files.segments()] == [-5, 0, 5, None]


def test_unwritable_file(tmp_path: Path) -> None:
    (tmp_path / "one").write_text("no folder")
    files = SegmentFiles(StagingFolder(tmp_path / "one"), 100)
    with pytest.raises(StagingError, match="one can't be written"):
        files.append(GLEIF_CANDIDATES, batch_of([1]))
