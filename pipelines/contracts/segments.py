"""Segments (DESIGN 3.5): which one a domain id belongs to, and what its file is called. The one place for this rule."""

from collections.abc import Iterable

_LARGEST_ID = 2**31 - 1
_SMALLEST_WIDTH = 6
_ALL = "all"


def segment_of(domain_id: int, segment_size: int) -> int:
    """Number of the segment that an id of `domains` belongs to; negative for a negative id."""
    return domain_id // segment_size


def segment_name(segment: int | None, segment_size: int) -> str:
    """Stem of a segment's file: fixed width, so that name order is id order (DESIGN 4); `all` for None.

    A negative segment -k is written as the complement of k, so that names still sort like ids.
    """
    if segment is None:
        return _ALL
    width = max(_SMALLEST_WIDTH, len(str(_LARGEST_ID // segment_size)))
    return f"{segment:0{width}d}" if segment >= 0 else f"-{10**width + segment:0{width}d}"


def segment_number(name: str, segment_size: int) -> int | None:
    """The segment that `segment_name` gave this name."""
    if name == _ALL:
        return None
    number = int(name)
    width = max(_SMALLEST_WIDTH, len(str(_LARGEST_ID // segment_size)))
    return number if number >= 0 and not name.startswith("-") else -number - 10**width


def in_order(segments: Iterable[int | None]) -> list[int | None]:
    """Segments in the order of ids, None last."""
    return sorted(segments, key=lambda segment: (segment is None, segment or 0))
