"""What the process that writes exports.duckdb is told to do, as JSON on its stdin."""

import json
from dataclasses import asdict, dataclass
from typing import Any

from pipelines.contracts.segments import Bounds


@dataclass(frozen=True)
class ColumnTask:
    """A column: its name, DuckDB type, whether it refuses NULL, its comment, its compression ("": DuckDB decides)."""

    name: str
    kind: str
    required: bool
    comment: str
    compression: str = ""


@dataclass(frozen=True)
class Replacement:
    """Rows to bring in line with Parquet files.

    Attributes:
        ranges: Ranges of domain ids, ascending (segments.Bounds); None: every row of the table.
        files: The files that hold these rows now (as read_parquet takes them); none: the rows are gone.
    """

    ranges: tuple[Bounds, ...] | None
    files: tuple[str, ...]


@dataclass(frozen=True)
class TableTask:
    """A table: to create and fill from Parquet files in that order, or to bring in line with some of them.

    Attributes:
        name: Its name.
        comment: Its comment.
        columns: Its columns.
        key: Names of the columns of its primary key.
        files: All its Parquet files (as read_parquet takes them), where it is built.
        replacements: What to replace of it, where it is updated.
    """

    name: str
    comment: str
    columns: tuple[ColumnTask, ...]
    key: tuple[str, ...]
    files: tuple[str, ...] = ()
    replacements: tuple[Replacement, ...] = ()


@dataclass(frozen=True)
class ViewTask:
    """A view: its name, its comment, its SELECT over unqualified tables, name and comment of each column."""

    name: str
    comment: str
    query: str
    columns: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class InfoTask:
    """A table of one row, written again in every file: its name, its comment, its columns, their values as text."""

    name: str
    comment: str
    columns: tuple[ColumnTask, ...]
    values: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """A database to build or to update.

    Attributes:
        database: The file; it must not exist if it is built, and holds all tables if it is updated.
        temp_folder: Where DuckDB may spill.
        memory_mb: Most memory that DuckDB takes, MB.
        parent: Process id of the parent.
        tables: Its tables.
        most_changes: Update it, and give up beyond so many rows that are deleted or inserted; None: build it.
        views: Its views.
        info: What it says of itself; None: nothing.
    """

    database: str
    temp_folder: str
    memory_mb: int
    parent: int
    tables: tuple[TableTask, ...]
    most_changes: int | None = None
    views: tuple[ViewTask, ...] = ()
    info: InfoTask | None = None

    def to_json(self) -> str:
        """This task in one line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, line: str | bytes) -> "Task":
        """The task of a line that to_json wrote."""
        raw = json.loads(line)
        tables = tuple(_table(table) for table in raw.pop("tables"))
        views = tuple(_view(view) for view in raw.pop("views"))
        info = raw.pop("info")
        return cls(**raw, tables=tables, views=views, info=None if info is None else _info(info))


def _info(raw: dict[str, Any]) -> InfoTask:
    columns = tuple(ColumnTask(**column) for column in raw.pop("columns"))
    return InfoTask(**{**raw, "values": tuple(raw["values"])}, columns=columns)


def _table(raw: dict[str, Any]) -> TableTask:
    columns = tuple(ColumnTask(**column) for column in raw.pop("columns"))
    replacements = tuple(_replacement(part) for part in raw.pop("replacements"))
    key, files = tuple(raw.pop("key")), tuple(raw.pop("files"))
    return TableTask(**raw, columns=columns, key=key, files=files, replacements=replacements)


def _view(raw: dict[str, Any]) -> ViewTask:
    columns = tuple((name, comment) for name, comment in raw.pop("columns"))
    return ViewTask(**raw, columns=columns)


def _replacement(raw: dict[str, Any]) -> Replacement:
    ranges = raw["ranges"]
    return Replacement(None if ranges is None else tuple((first, last) for first, last in ranges), tuple(raw["files"]))
