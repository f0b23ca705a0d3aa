"""SQL about whole rows: the hash that tells rows apart, and the rows of some segments.

Belongs here: SQL text that the database writer's process needs too, so no import of Polars. Does not: running it.
"""

from collections.abc import Mapping, Sequence

from pipelines.reading.sessions import quoted

DOMAIN_ID = "domain_id"  # what segments are cut by
_ID_MIN, _ID_MAX = -(2**63), 2**63 - 1
_REALS = ("FLOAT", "DOUBLE")


def row_hash(columns: Mapping[str, str]) -> str:
    """An expression of 64 bits that is equal for rows that are equal in every cell.

    NULL, `''`, `[]` and a list of one NULL all differ, and so do 0.0 and -0.0; NaN equals NaN.

    Args:
        columns: DuckDB types by name of the columns that are hashed.
    """
    return f"hash({', '.join(part for name, kind in columns.items() for part in _hashed(name, kind))})"


def in_ranges(ranges: Sequence[tuple[int, int]]) -> str:
    """A condition: domain_id lies in one of the ranges, both ends included.

    Args:
        ranges: In ascending order; none is true of no row.
    """
    if not ranges:
        return "false"
    column = quoted(DOMAIN_ID)
    # The outer bounds stand first: they alone let DuckDB skip row groups by their statistics.
    outer = f"{column} BETWEEN {ranges[0][0]} AND {ranges[-1][1]}"
    return f"{outer} AND ({' OR '.join(f'{column} BETWEEN {first} AND {last}' for first, last in ranges)})"


def id_ranges(segments: Sequence[int], segment_size: int) -> list[tuple[int, int]]:
    """Ranges of domain ids that segments cover, neighbours joined.

    Args:
        segments: Numbers in ascending order.
        segment_size: Ids per segment.
    """
    ranges: list[tuple[int, int]] = []
    for segment in segments:
        # The outermost segments reach beyond int8, and no column is compared with a wider number by its statistics.
        first, last = max(segment * segment_size, _ID_MIN), min((segment + 1) * segment_size - 1, _ID_MAX)
        if ranges and ranges[-1][1] == first - 1:
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))
    return ranges


def _hashed(name: str, kind: str) -> list[str]:
    column = quoted(name)
    if kind in _REALS:
        return [column, f"({column} = 0 AND signbit({column}))"]
    if not kind.endswith("[]"):
        return [column]
    # DuckDB 2.0 hashes NULL, [] and [NULL] alike, and not the same in every vector: the length tells them apart.
    return [f"len({column})", f"CASE WHEN len({column}) > 0 THEN {column} ELSE [''] END"]
