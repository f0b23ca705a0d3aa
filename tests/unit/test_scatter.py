"""Rows go to the segment of their domain id, each once, whatever the ids (DESIGN 3.5)."""

from collections import defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.contracts.segments import Segmentation
from pipelines.source.read_range import split_by_segment

pytestmark = pytest.mark.fast

INT_MIN, INT_MAX = -(2**63), 2**63 - 1
ids_anywhere = st.one_of(st.none(), st.integers(INT_MIN, INT_MAX), st.integers(-1000, 1000))
segmentations = st.sets(
    st.one_of(st.integers(-12, 12), st.integers(INT_MIN // 100 + 1, INT_MAX // 100)), min_size=1
).map(lambda numbers: Segmentation(100, tuple(sorted(numbers))))


def batch_of(ids: list[int | None]) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "id": pa.array(range(len(ids)), pa.int64()),
            "domain_id": pa.array(ids, pa.int64()),
            "name": pa.array([None if n % 3 == 0 else f"ü{n}" for n in range(len(ids))], pa.string()),
        }
    )


def naive(ids: list[int | None], segmentation: Segmentation) -> dict[int | None, list[int]]:
    groups: dict[int | None, list[int]] = defaultdict(list)
    for place, domain_id in enumerate(ids):
        inside = (
            [None]
            if domain_id is None
            else [
                number
                for number, (low, high) in segmentation.bounds.items()
                if (low is None or low <= domain_id) and (high is None or domain_id < high)
            ]
        )
        groups[inside[0]].append(place)
    return groups


def check(ids: list[int | None], segmentation: Segmentation) -> None:
    batch = batch_of(ids)
    parts = split_by_segment(batch, "domain_id", segmentation)
    expected = naive(ids, segmentation)
    assert {segment: part["id"].to_pylist() for segment, part in parts} == expected
    assert len(parts) == len(expected)
    for _, part in parts:
        part.validate(full=True)
        assert part.equals(batch.take(part["id"]))
        # What is written holds its own rows and no more.
        assert pa.ipc.read_record_batch(part.serialize(), part.schema).equals(part)


@settings(max_examples=150, deadline=None)
@given(ids=st.lists(ids_anywhere, max_size=60), segmentation=segmentations)
def test_like_a_naive_grouping(ids: list[int | None], segmentation: Segmentation) -> None:
    check(ids, segmentation)


@settings(max_examples=50, deadline=None)
@given(ids=st.lists(st.integers(-500, 500), min_size=1, max_size=60).map(sorted), segmentation=segmentations)
def test_rows_in_order(ids: list[int | None], segmentation: Segmentation) -> None:
    check(ids, segmentation)


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
        [2**62, -(2**62) - 1, 2**62 + 1],
        [-(2**62) - 1, 2**62],
    ],
)
def test_edges(ids: list[int | None]) -> None:
    check(ids, Segmentation(100, (-2, -1, 0, 1)))


@pytest.mark.parametrize("count", [2**16 - 1, 2**16, 2**16 + 1])
def test_many_segments_are_sorted_like_few(count: int) -> None:
    """Up to 65,535 segments are sorted as 16 bits."""
    segmentation = Segmentation(100, tuple(range(count)))
    last = (count - 1) * 100
    parts = split_by_segment(batch_of([last + 5, 6, last + 1, last - 100, 1]), "domain_id", segmentation)
    assert [(number, part["id"].to_pylist()) for number, part in parts] == [
        (0, [1, 4]),
        (count - 2, [3]),
        (count - 1, [0, 2]),
    ]
