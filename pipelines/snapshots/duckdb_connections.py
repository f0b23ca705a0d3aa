"""How this project opens DuckDB, and its SQL: quoting, hashes that compare rows, the rows of some segments."""

import glob
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import duckdb

from pipelines.contracts.segments import KeyBounds

# No extension is ever fetched: a published file must open on a machine without network, and what is read stays what it
# is. All connections to one file in one process must have one configuration, DuckDB refuses them otherwise.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}
_REALS = ("FLOAT", "DOUBLE")
_RANGES_IN_A_ROW = 8


def open_scratch(memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB of its own without a file, to look at files from outside.

    Args:
        memory_mb: Most memory that it takes, MB; it never spills.

    Returns:
        A connection that shares nothing with others, so that it sees the files as they are on disk now.
    """
    config = {**CONFIG, "memory_limit": f"{memory_mb}MB", "temp_directory": "", "enable_external_file_cache": False}
    return duckdb.connect(":memory:", config=config)


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """A text literal in SQL, for statements that take no parameters (ATTACH, COMMENT)."""
    return "'" + text.replace("'", "''") + "'"


def literal_path(path: Path) -> str:
    """A path as read_parquet takes it: `[`, `*` and `?` in a folder's name stand for themselves."""
    return glob.escape(str(path))


def row_hash(columns: Mapping[str, str]) -> str:
    """An expression of 64 bits that is equal for rows that are equal in every cell.

    NULL, `''`, `[]` and a list of one NULL all differ, and so do 0.0 and -0.0; NaN equals NaN.

    Args:
        columns: DuckDB types by name of the columns that are hashed.
    """
    return f"hash({', '.join(part for name, kind in columns.items() for part in _hashed(name, kind))})"


def in_ranges(column: str, ranges: Sequence[KeyBounds]) -> str:
    """A condition: a column lies in one of the ranges.

    Args:
        ranges: In ascending order: the first key, and the one behind the last; None is no limit. NULL is in none.
    """
    if not ranges:
        return "false"
    # The outer limits stand first: they alone let DuckDB skip row groups by their statistics.
    outer = _between(column, (ranges[0][0], ranges[-1][1]))
    return outer if len(ranges) == 1 else f"{outer} AND {_in_one_of(column, ranges)}"


def _between(column: str, bounds: KeyBounds) -> str:
    low, high = bounds
    limits = [f"{quoted(column)} >= {_literal(low)}"] if low is not None else []
    limits += [f"{quoted(column)} < {_literal(high)}"] if high is not None else []
    return " AND ".join(limits) or "true"


def _in_one_of(column: str, ranges: Sequence[KeyBounds]) -> str:
    """A binary search: a row is compared with few ranges. 3,000 joined by OR took 3.8 s a million rows, this 0.4."""
    if len(ranges) <= _RANGES_IN_A_ROW:
        return f"({' OR '.join(f'({_between(column, part)})' for part in ranges)})"
    half = len(ranges) // 2
    lower, upper = _in_one_of(column, ranges[:half]), _in_one_of(column, ranges[half:])
    return f"CASE WHEN {quoted(column)} < {_literal(ranges[half][0])} THEN {lower} ELSE {upper} END"


def _literal(key: int | str) -> str:
    return quoted_text(key) if isinstance(key, str) else str(key)


def _hashed(name: str, kind: str) -> list[str]:
    column = quoted(name)
    if kind in _REALS:
        return [column, f"({column} = 0 AND signbit({column}))"]
    if not kind.endswith("[]"):
        return [column]
    # DuckDB 2.0 hashes NULL, [] and [NULL] alike, and not the same in every vector: the length tells them apart.
    return [f"len({column})", f"CASE WHEN len({column}) > 0 THEN {column} ELSE [''] END"]


class Fingerprint(NamedTuple):
    """What two sets of rows have in common when every cell is equal, whatever their order.

    Attributes:
        total: Sum of the rows' 64-bit hashes: it sees a row that stands twice.
        mixed: Exclusive or of them.
    """

    rows: int
    total: int
    mixed: int


def table_relation(database: str, table_name: str) -> str:
    """The SQL relation of a table in an attached database."""
    return f"{quoted(database)}.main.{quoted(table_name)}"


def fingerprint(
    connection: duckdb.DuckDBPyConnection,
    relation: str,
    columns: Mapping[str, str],
    parameters: Sequence[object] = (),
    condition: str = "true",
) -> Fingerprint:
    """Hash whole rows of a relation: 0.1 s a million rows of 24 columns on two cores, in constant memory.

    What makes rows equal: row_hash.

    Raises:
        duckdb.Error: The relation can't be read.
    """
    query = (
        "SELECT count(*), coalesce(sum(h::HUGEINT), 0), coalesce(bit_xor(h), 0)"
        f" FROM (SELECT {row_hash(columns)} AS h FROM {relation} WHERE {condition})"
    )
    rows, total, mixed = connection.execute(query, list(parameters)).fetchall()[0]
    return Fingerprint(rows, total, mixed)


def parquet_relation(files: Sequence[Path]) -> tuple[str, list[object]]:
    """The SQL relation of Parquet files, and its parameters; folders named `a=1` are no columns."""
    return "read_parquet(?, hive_partitioning = false)", [[literal_path(file) for file in files]]
