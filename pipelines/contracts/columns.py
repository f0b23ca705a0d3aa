"""How the schema of a derived table takes over columns that are described elsewhere, and says where they come from.

Belongs here: copies of columns, and where a column's values come from (for lineage). Does not: the tables themselves.
"""

import copy
import types
from collections.abc import Mapping
from typing import Any

import dataframely as dy

# Column metadata: the columns that a column's values are taken or computed from, as `<table>.<column>`.
FROM = "from"


def make_schema(module: str, name: str, doc: str, columns: Mapping[str, dy.Column]) -> type[dy.Schema]:
    """A schema class made of columns."""
    return types.new_class(
        name, (dy.Schema,), exec_body=lambda body: body.update(__doc__=doc, __module__=module, **columns)
    )


def taken(table: str, schema: type[dy.Schema], name: str, **changes: Any) -> dy.Column:  # noqa: ANN401  attributes
    """A copy of a column of another table, with the same description and unit.

    Args:
        table: The table that it is taken from.
        schema: Schema of that table; its columns are cached there, so they are copied, never changed.
        name: Its name there.
        changes: Attributes that differ, such as `nullable` or `description`.
    """
    column = copy.copy(schema.columns()[name])
    for attribute, value in {"primary_key": False, **changes}.items():
        setattr(column, attribute, value)
    return made_from(column, f"{table}.{name}")


def made_from(column: dy.Column, *sources: str) -> dy.Column:
    """The column itself, told which columns (`<table>.<column>`) its values come from; what it said before is gone."""
    column.metadata = {**(column.metadata or {}), FROM: sources}
    return column


def sources_of(column: dy.Column) -> tuple[str, ...]:
    """The columns (`<table>.<column>`) that a column's values come from."""
    sources: tuple[str, ...] = (column.metadata or {}).get(FROM, ())
    return sources


def unit_of(column: dy.Column) -> str | None:
    """The unit of a column's values."""
    unit: str | None = (column.metadata or {}).get("unit")
    return unit
