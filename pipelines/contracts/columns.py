"""How the schema of a derived table has columns that are described elsewhere, and says where they come from."""

import copy
import types
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import dataframely as dy


class Storage(StrEnum):
    """How exports.duckdb stores the texts of a column: named, so that DuckDB need not try every way before it writes.

    Measured in snapshots/database.py, where each gets its way. Other types are left to DuckDB.
    """

    KEY = "key"  # hardly repeats, is short, and is looked up
    TEXT = "text"  # hardly repeats: names, joined texts, documents
    CODE = "code"  # repeats, or is mostly absent; prose of a site too, which is read twice as fast as a TEXT


# Column metadata: how its texts are stored.
_STORAGE = "storage"
# Column metadata: the columns that a column's values are taken or computed from, as `<table>.<column>`.
FROM = "from"


def make_schema(module: str, name: str, doc: str, columns: Mapping[str, dy.Column]) -> type[dy.Schema]:
    """A schema class made of columns."""
    return types.new_class(
        name, (dy.Schema,), exec_body=lambda body: body.update(__doc__=doc, __module__=module, **columns)
    )


def text(storage: Storage, description: str, *, nullable: bool = True, **more: Any) -> dy.String:  # noqa: ANN401
    """A column of texts.

    Args:
        storage: How they are stored in exports.duckdb.
        more: Other attributes of the column, such as `primary_key` or `regex`.
    """
    return dy.String(nullable=nullable, description=description, metadata={_STORAGE: storage}, **more)


def with_lineage(table: str, schema: type[dy.Schema], name: str, **changes: Any) -> dy.Column:  # noqa: ANN401  attributes
    """A copy of a column of another table, with the same description and unit.

    Args:
        table: The table that it is taken from.
        schema: Schema of that table; its columns are cached there, so they are copied, never changed.
        changes: Attributes that differ, such as `nullable` or `description`.
    """
    column = copy.copy(schema.columns()[name])
    for attribute, value in {"primary_key": False, **changes}.items():
        setattr(column, attribute, value)
    return derived_from(column, f"{table}.{name}")


def derived_from(column: dy.Column, *sources: str) -> dy.Column:
    """The column itself, with the columns (`<table>.<column>`) that its values come from, instead of those before."""
    column.metadata = {**(column.metadata or {}), FROM: sources}
    return column


def sources_of(column: dy.Column) -> tuple[str, ...]:
    """The columns (`<table>.<column>`) that a column's values come from."""
    sources: tuple[str, ...] = (column.metadata or {}).get(FROM, ())
    return sources


def stored_as(column: dy.Column, storage: Storage) -> dy.Column:
    """The column itself, its texts stored in another way than in the table that it was taken from."""
    column.metadata = {**(column.metadata or {}), _STORAGE: storage}
    return column


def storage_of(column: dy.Column) -> Storage | None:
    """How the texts of a column are stored; None for other types, and where nothing was said."""
    storage: Storage | None = (column.metadata or {}).get(_STORAGE)
    return storage


def unit_of(column: dy.Column) -> str | None:
    """The unit of a column's values."""
    unit: str | None = (column.metadata or {}).get("unit")
    return unit
