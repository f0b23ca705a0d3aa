"""Segmentation (DESIGN 3.5): contiguous ranges of domain ids with all their candidates. The one place for this rule.

The ids are cut at multiples of SEGMENT_SIZE. Ranges of SEGMENT_SIZE ids next to each other are joined as long as they
hold at most SEGMENT_SIZE rows of `domains` and at most CANDIDATES_PER_DOMAIN times as many candidates, so that sparse
ids give segments of a sensible number of rows. The cuts are kept from run to run; one is added where a segment has
grown over these limits.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

# The application stores up to ten candidates for a row of `domains`.
CANDIDATES_PER_DOMAIN = 10
_ALL = "all"
NO_DOMAIN_ID = "z_no_domain_id"
"""Stem of the file of rows without a domain id. It sorts behind all names of segments: NULL is last."""
_SHORT, _LONG = 6, 17  # digits; the second is enough for every id of 8 bytes in segments of 100 ids

Bounds = tuple[int | None, int | None]
"""A range of domain ids: the first one, and the one behind the last; None is no limit."""
KeyBounds = tuple[Any, Any]
"""The same of any key: ids, or texts in the order of their bytes."""


class IdRange(NamedTuple):
    """Rows of a range of domain ids.

    Attributes:
        number: The first id of the range, divided by SEGMENT_SIZE.
        domains: Rows of `domains` in it.
        candidates: Rows of `gleif_candidates` in it.
    """

    number: int
    domains: int
    candidates: int


@dataclass(frozen=True)
class Segmentation:
    """How the domain ids are cut. Every id is in exactly one segment.

    Attributes:
        numbers: Number of each segment, ascending: its first id divided by `size`. A segment ends where the next one
            begins; the first has no lower end and the last no upper end.
    """

    size: int
    numbers: tuple[int, ...] = (0,)

    @cached_property
    def cuts(self) -> list[int]:
        """First domain id of every segment but the first."""
        return [number * self.size for number in self.numbers[1:]]

    @cached_property
    def bounds(self) -> dict[int, Bounds]:
        """The ids of every segment, by its number."""
        return dict(zip(self.numbers, zip([None, *self.cuts], [*self.cuts, None], strict=True), strict=True))

    def number_at(self, domain_id: int) -> int:
        """Number of the segment that an id is in."""
        return self.numbers[bisect_right(self.cuts, domain_id)]

    def ranges(self, numbers: Iterable[int]) -> list[Bounds]:
        """The ids of some segments in ascending order; those of neighbours are one range."""
        return join_bounds(self.bounds, numbers)

    def is_too_large(self, domains: int, candidates: int) -> bool:
        """Whether so many rows are too many for a segment of more than `size` ids."""
        return domains > self.size or candidates > self.size * CANDIDATES_PER_DOMAIN

    def can_be_cut(self, number: int) -> bool:
        """Whether a segment has more than `size` ids. Only such a one can be cut."""
        low, high = self.bounds[number]
        return low is None or high is None or high - low > self.size

    def with_cuts(self, numbers: Iterable[int]) -> "Segmentation":
        """The same segments, cut at more places."""
        return Segmentation(self.size, tuple(sorted({*self.numbers, *numbers})))


def join_bounds(bounds: Mapping[int, KeyBounds], numbers: Iterable[int]) -> list[KeyBounds]:
    """The keys of some of these ranges, in ascending order; those of neighbours are one range."""
    joined: list[KeyBounds] = []
    for number in sorted(set(numbers)):
        low, high = bounds[number]
        if joined and joined[-1][1] == low:
            joined[-1] = (joined[-1][0], high)
        else:
            joined.append((low, high))
    return joined


def join_ranges(ranges: Sequence[IdRange], segments: Segmentation) -> list[int]:
    """Numbers of the segments that ranges of ids next to each other make when they are joined as far as they may be.

    Args:
        ranges: In ascending order, each of `segments.size` ids or more; ids between them have no rows.
    """
    numbers: list[int] = []
    domains = candidates = 0
    for part in ranges:
        domains, candidates = domains + part.domains, candidates + part.candidates
        if not numbers or segments.is_too_large(domains, candidates):
            numbers.append(part.number)
            domains, candidates = part.domains, part.candidates
    return numbers


def segment_name(number: int | None) -> str:
    """Stem of a segment's file. Name order is id order (DESIGN 4).

    Six digits below 1,000,000; more have the prefix `x`, which sorts behind all digits. A negative number -k has the
    prefix `-` or `--` and is written as the complement of k, so that names still sort like ids.

    Args:
        number: The segment's number; None (`all`): rows that belong to no domain id, or all rows of a table.
    """
    if number is None:
        return _ALL
    if abs(number) < 10**_SHORT:
        return f"{number:0{_SHORT}d}" if number >= 0 else f"-{10**_SHORT + number:0{_SHORT}d}"
    return f"x{number:0{_LONG}d}" if number >= 0 else f"--{10**_LONG + number:0{_LONG}d}"


def segment_number(name: str) -> int | None:
    """The number that `segment_name` wrote."""
    if name == _ALL:
        return None
    digits = int(name.lstrip("-x"))
    if name.startswith("-"):
        return digits - int(10 ** (_LONG if name.startswith("--") else _SHORT))
    return digits


def in_order(numbers: Iterable[int | None]) -> list[int | None]:
    """Numbers of segments in the order of ids, None last."""
    return sorted(numbers, key=lambda number: (number is None, number or 0))
