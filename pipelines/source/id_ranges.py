"""SQL conditions on domain ids, for PostgreSQL."""

from collections.abc import Sequence

from psycopg import sql

from pipelines.contracts.segments import Bounds

_SMALLEST_INT8 = -(2**63)


def int8_array(numbers: Sequence[int]) -> sql.Composed:
    """An array of int8."""
    return sql.SQL("{}::int8[]").format(sql.Literal(f"{{{','.join(map(str, numbers))}}}"))


def in_ranges(column: sql.Identifier, ranges: Sequence[Bounds], *, or_null: bool = False) -> sql.Composable:
    """A condition: the column lies in one of these ranges.

    Args:
        column: A column of any integer type.
        ranges: In ascending order, without overlap.
        or_null: Whether NULL is in them too.
    """
    tests: list[sql.Composable] = []
    if ranges:
        parts: list[sql.Composable] = []
        low, high = ranges[0][0], ranges[-1][1]
        # The outer limits stand alone, so that an index can be used.
        if low is not None:
            parts.append(sql.SQL("{} >= {}").format(column, sql.Literal(low)))
        if high is not None:
            parts.append(sql.SQL("{} < {}").format(column, sql.Literal(high)))
        if len(ranges) > 1:
            # A binary search over all limits: an odd place is inside a range. 3,000 conditions with OR are read one by
            # one for each row.
            limits = [_SMALLEST_INT8 if low is None else low]
            limits += [limit for bounds in ranges for limit in bounds if limit is not None and limit != low]
            parts.append(sql.SQL("width_bucket({}::int8, {}) % 2 = 1").format(column, int8_array(limits)))
        tests.append(sql.SQL(" AND ").join(parts or [sql.SQL("{} IS NOT NULL").format(column)]))
    if or_null:
        tests.append(sql.SQL("{} IS NULL").format(column))
    return sql.SQL("({})").format(sql.SQL(" OR ").join(tests or [sql.SQL("false")]))
