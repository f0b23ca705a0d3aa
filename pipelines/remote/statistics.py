"""Statistics of a Parquet file for Delta's log, so that engines can skip files; from its footer, no row is read."""

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

# Longer texts would make the log larger than what skipping by them saves.
_MAX_TEXT = 64


def statistics_of(path: Path) -> str:
    """Row count, and per column that is no list: number of NULLs, smallest and largest value.

    Returns:
        JSON as the Delta protocol has it (`numRecords`, `minValues`, `maxValues`, `nullCount`). A column without a
        bound in every row group, or with a long text as a bound, has none here.

    Raises:
        OSError: The file can't be read.
    """
    footer = pq.read_metadata(path)
    smallest: dict[str, Any] = {}
    largest: dict[str, Any] = {}
    nulls: dict[str, int] = {}
    for number in range(footer.num_columns):
        column = footer.schema.column(number)
        if column.max_repetition_level or column.max_definition_level > 1:
            continue
        found = [footer.row_group(group).column(number).statistics for group in range(footer.num_row_groups)]
        if any(each is None or not each.has_null_count for each in found):
            continue
        nulls[column.name] = sum(each.null_count for each in found)
        bounds = _bounds([each for each in found if each.num_values])
        if bounds is not None:
            smallest[column.name], largest[column.name] = bounds
    return json.dumps(
        {"numRecords": footer.num_rows, "minValues": smallest, "maxValues": largest, "nullCount": nulls},
        ensure_ascii=False,
        allow_nan=False,
    )


def _bounds(groups: list[Any]) -> tuple[Any, Any] | None:
    """Smallest and largest value over row groups, as JSON; None where one is missing or can't be said."""
    if not groups or not all(each.has_min_max for each in groups):
        return None
    try:
        values = _value(min(each.min for each in groups)), _value(max(each.max for each in groups))
    except (OverflowError, ValueError):  # PostgreSQL's years go from 4713 BC to 294276
        return None
    return None if None in values else values


def _value(bound: Any) -> Any:  # noqa: ANN401  a value of any column
    """A bound as JSON; None where it can't be one. The protocol has no bounds of booleans."""
    match bound:
        case bool():
            return None
        case datetime():
            return bound.isoformat(timespec="microseconds")
        case float():
            return bound if math.isfinite(bound) else None
        case str():
            return bound if len(bound) <= _MAX_TEXT else None
        case int():
            return bound
    return None
