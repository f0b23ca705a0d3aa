"""How domain ids are cut into segments, and what segments are called (contracts/segments.py)."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contracts.segments import IdRange, Segmentation, in_order, join_ranges, segment_name, segment_number

pytestmark = pytest.mark.fast

INT8 = st.integers(-(2**63), 2**63 - 1)


@pytest.mark.parametrize(
    ("number", "name"),
    [
        (0, "000000"),
        (42, "000042"),
        (999_999, "999999"),
        (1_000_000, "x00000000001000000"),
        (-1, "-999999"),
        (-999_999, "-000001"),
        (None, "all"),
    ],
)
def test_names(number: int | None, name: str) -> None:
    assert segment_name(number) == name
    assert segment_number(name) == number


@given(numbers=st.lists(st.one_of(INT8.map(lambda n: n // 100), st.integers(-1_000_001, 1_000_001)), min_size=2))
def test_names_sort_like_numbers_and_are_read_back(numbers: list[int]) -> None:
    names = [segment_name(number) for number in sorted(set(numbers))]
    assert names == sorted(names)
    assert [segment_number(name) for name in names] == sorted(set(numbers))


@given(ids=st.lists(INT8, max_size=40), cuts=st.sets(st.integers(-(2**63) // 100 + 1, 2**63 // 100 - 1), min_size=1))
def test_every_id_is_in_one_segment(ids: list[int], cuts: set[int]) -> None:
    segmentation = Segmentation(100, tuple(sorted(cuts)))
    for domain_id in ids:
        inside = [
            number
            for number, (low, high) in segmentation.bounds.items()
            if (low is None or low <= domain_id) and (high is None or domain_id < high)
        ]
        assert inside == [segmentation.number_at(domain_id)]


def test_numbers_are_in_the_order_of_ids_and_what_has_none_is_last() -> None:
    assert in_order([None, 1, 0, -2, 30]) == [-2, 0, 1, 30, None]


def test_ranges_of_neighbours_are_joined() -> None:
    segmentation = Segmentation(100, (0, 1, 2, 5, 9))
    assert segmentation.ranges([9, 1, 2]) == [(100, 500), (900, None)]
    assert segmentation.ranges([0]) == [(None, 100)]
    assert segmentation.ranges(segmentation.numbers) == [(None, None)]
    assert segmentation.ranges([]) == []


def test_ranges_of_ids_are_joined_while_they_are_small() -> None:
    segmentation = Segmentation(100)
    dense = [IdRange(number, 100, 0) for number in range(4)]
    assert join_ranges(dense, segmentation) == [0, 1, 2, 3]
    sparse = [IdRange(number * 1000, 1, 0) for number in range(250)]
    assert join_ranges(sparse, segmentation) == [0, 100_000, 200_000]
    assert join_ranges([IdRange(0, 60, 0), IdRange(1, 40, 0), IdRange(2, 1, 0)], segmentation) == [0, 2]
    assert join_ranges([IdRange(0, 1, 900), IdRange(1, 1, 101), IdRange(7, 0, 899)], segmentation) == [0, 1]
    assert join_ranges([], segmentation) == []


@given(
    counts=st.dictionaries(
        st.integers(-50, 50), st.tuples(st.integers(0, 100), st.integers(0, 1500)), min_size=1, max_size=60
    )
)
def test_joined_ranges_keep_the_limits_unless_one_alone_breaks_them(counts: dict[int, tuple[int, int]]) -> None:
    segmentation = Segmentation(100)
    numbers = join_ranges([IdRange(number, *found) for number, found in sorted(counts.items())], segmentation)
    assert numbers[0] == min(counts)
    sums = []
    for low, high in pairwise([*numbers, 10**6]):
        inside = [found for number, found in counts.items() if low <= number < high]
        sums.append((sum(d for d, _ in inside), sum(c for _, c in inside)))
        assert not segmentation.is_too_large(*sums[-1]) or len(inside) == 1
    # No two neighbours could have been one.
    for (domains, candidates), number in zip(sums, numbers[1:], strict=False):
        first = counts[number]
        assert segmentation.is_too_large(domains + first[0], candidates + first[1])


def test_cuts_are_added_and_stay() -> None:
    segmentation = Segmentation(100, (0, 7))
    assert segmentation.with_cuts([3, 7, -2]).numbers == (-2, 0, 3, 7)
    assert segmentation.can_be_cut(0)
    assert segmentation.can_be_cut(7)
    assert not Segmentation(100, (0, 1, 2)).can_be_cut(1)
