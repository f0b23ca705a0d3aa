"""Why a read by connectorx failed: connectorx gives a text only, so psycopg is asked the same in the same snapshot.

Its SQLSTATE says what happened. Where psycopg can read the rows, connectorx tries again: what fails twice is a value
that it can't decode, and what does not was a connection that broke, or that somebody cancelled.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import errors as pg
from psycopg import sql

from pipelines.errors import ExportError, ExtractError, SourceError
from pipelines.source.catalog import Relation
from pipelines.source.connection import Connection, connect, cutting_off_after, failed_query
from pipelines.source.exported_snapshot import SourceSnapshot
from pipelines.source.reader import read_query

_DATA_EXCEPTION = "22"
# Of the time that a read took to fail. psycopg takes about as long as connectorx.
_FACTOR, _LEAST_SECONDS = 1.5, 1.0
# What is asked: all columns, then halves of them.
_STATEMENTS = 10
_AGAIN = "start the run again; if it stays so, the PostgreSQL server's log has the cause"


def explain_failed_read(snapshot: SourceSnapshot, relation: Relation, query: str, seconds: float) -> ExportError:
    """Ask again what connectorx could not read; rows are thrown away.

    The connections have the run's name, so that they are cancelled with it.

    Args:
        query: The query that failed, over the relation's columns.
        seconds: How long it took to fail: what fails again, fails after about as long.

    Returns:
        ExtractError where a new run may succeed, else SourceError; it names the column where one is to blame.
    """
    table = relation.table.name
    try:
        connection = connect(snapshot.address, snapshot.application_name)
    except ExportError as error:
        return ExtractError(
            f"A read of {table} failed",
            expected="a connection that lasts",
            found=f"the connection broke, and there is no new one: {error.found}",
            fix=_AGAIN,
        )
    limit = _FACTOR * seconds + _LEAST_SECONDS
    try:
        with cutting_off_after(_STATEMENTS * limit, connection):
            return _explain(connection, snapshot, relation, query, limit)
    except psycopg.Error as error:
        return failed_query(error, f"reading {table}")
    finally:
        connection.close()


@dataclass(frozen=True)
class _Again:
    """The failed query, to be asked again with all of its columns or some."""

    connection: Connection
    snapshot: SourceSnapshot
    query: str

    def psycopg_fails(self, columns: Sequence[str]) -> psycopg.Error | None:
        """What psycopg raises for it, if anything.

        Raises:
            psycopg.Error: The connection broke.
        """
        try:
            with self.connection.transaction():
                _copy(self.connection, _of_columns(self.query, columns))
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise
            return error
        return None

    def connectorx_fails(self, columns: Sequence[str]) -> ExportError | None:
        """What connectorx raises for it, if anything."""
        query = _of_columns(self.query, columns).as_string(self.connection)
        try:
            read_query(self.snapshot.reader_url, query, self.snapshot.reader_setup())
        except ExportError as error:
            return error
        return None


def _explain(
    connection: Connection, snapshot: SourceSnapshot, relation: Relation, query: str, limit: float
) -> ExportError:
    table, names = relation.table.name, [column.name for column in relation.read_columns]
    if not snapshot.is_imported_by(connection):
        return snapshot.lost_error(f"{table} was read")
    connection.execute("SELECT set_config('statement_timeout', %s, false)", (str(int(limit * 1000)),))
    again = _Again(connection, snapshot, query)
    refused = again.psycopg_fails(names)
    if not isinstance(refused, pg.QueryCanceled | None):
        if not (refused.sqlstate or "").startswith(_DATA_EXCEPTION):
            return failed_query(refused, f"reading {table}")
        return _bad_value(relation, _find_column(names, again.psycopg_fails), f"PostgreSQL can't, {refused.sqlstate}")
    if refused is not None or again.connectorx_fails(names) is None:
        return ExtractError(
            f"A read of {table} failed once, and not when it was asked again",
            found="the connection broke, or somebody cancelled the statement",
            fix=_AGAIN,
        )
    if again.connectorx_fails(()) is not None:
        return ExtractError(
            "connectorx can read nothing any more",
            expected="that it can read one number",
            found="a failure, where psycopg reads all rows",
            fix="look for limits of this machine or its service: memory, threads, open files; then start the run again",
        )
    return _bad_value(relation, _find_column(names, again.connectorx_fails), "PostgreSQL can, connectorx can't")


def _of_columns(query: str, columns: Sequence[str]) -> sql.Composed:
    """The query for some of its columns; for none, the number 1 once."""
    if not columns:
        return sql.SQL("SELECT {} AS one").format(sql.Literal(1))
    names = sql.SQL(", ").join(map(sql.Identifier, columns))
    return sql.SQL("SELECT {} FROM ({}) AS r").format(names, sql.SQL(query))


def _copy(connection: Connection, query: sql.Composed) -> None:
    """Have the server send the rows as it does for connectorx, and drop them."""
    statement = sql.SQL("COPY ({}) TO STDOUT (FORMAT BINARY)").format(query)
    with connection.cursor() as cursor, cursor.copy(statement) as rows:
        for _ in rows:
            pass


def _find_column(names: Sequence[str], fails: Callable[[Sequence[str]], object]) -> str | None:
    """The first column that fails alone, by halves; None where none does."""
    while len(names) > 1:
        half = names[: len(names) // 2]
        names = half if fails(half) else names[len(half) :]
    return names[0] if fails(names) else None


def _bad_value(relation: Relation, column: str | None, reason: str) -> SourceError:
    table = relation.table.name
    if column is None:
        return SourceError(
            f"Source table {table} holds a value that can't be read",
            found=reason,
            fix="look for it with psql: SELECT every column of every row",
        )
    kind = dict(relation.types)[column]
    fix = "correct the value, or the expression of the view that gives the column"
    if kind.startswith("timestamp"):
        fix = "look for timestamps after the year 262142"
    return SourceError(
        f"Source column {table}.{column} holds a value that can't be read",
        expected=f"values of {kind} that PostgreSQL and connectorx can both read",
        found=f"one outside of what can be read ({reason})",
        fix=fix,
    )
