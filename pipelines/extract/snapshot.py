"""The exported snapshot: one instant of the database, held open while every connection reads it (DESIGN 3.1).

Belongs here: the transaction that exports, and what it alone may answer (counts, unique ids, identity).
Does not: reading rows (reader.py), watching the clock and the locks (watch.py).
"""

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import sql
from pydantic import SecretStr

from pipelines.contracts.records import SourceRecord
from pipelines.errors import ContractError
from pipelines.extract.catalog import Relation, check_server, find_relations
from pipelines.extract.connection import LOCK_TIMEOUT_MS, SourceAddress, connect, failed_query, reader_url

SAMPLE_IDENTITY = "sample"
_LOCKABLE = frozenset({"table", "partitioned table", "view"})
_SHOWN_IDS = 5

_POSITION = """
SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database()::text,
       (SELECT oid::int8 FROM pg_database WHERE datname = current_database()),
       (SELECT timeline_id FROM pg_control_checkpoint()),
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
       (extract(epoch FROM clock_timestamp()) * 1000000)::int8, current_setting('server_version')
"""


@dataclass(frozen=True)
class SourceSnapshot:
    """An open, exported snapshot.

    Attributes:
        connection: The exporting connection; its transaction stays open as long as the snapshot is needed.
        snapshot_id: What other connections import.
        relations: Both source tables.
        source: Identity and position; the rows of its relations are still 0 (`count_rows` tells them).
        application_name: Name of every connection of this run, to find and cancel them by.
        reader_url: URL for connectorx; secret.
    """

    connection: psycopg.Connection[tuple[object, ...]]
    snapshot_id: str
    relations: tuple[Relation, ...]
    source: SourceRecord
    application_name: str
    reader_url: SecretStr

    def reader_setup(self, longest_s: float) -> list[str]:
        """Statements that put a connection of connectorx into this snapshot, one each (FACTS 1.1).

        Args:
            longest_s: Longest time for one statement, seconds.
        """
        return [
            "SET idle_in_transaction_session_timeout = 0",
            f"SET statement_timeout = {max(1, int(longest_s * 1000))}",
            f"SET lock_timeout = {LOCK_TIMEOUT_MS}",
            "SET TimeZone = 'UTC'",
            "SET row_security = off",
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            f"SET TRANSACTION SNAPSHOT '{self.snapshot_id}'",
        ]

    def count_rows(self) -> dict[str, int]:
        """Rows of each source table in the snapshot, by table name."""
        return {relation.table.name: self._count(relation) for relation in self.relations}

    def check_unique_ids(self) -> None:
        """Stop at a repeated id (DESIGN 3.3). Where a unique index says so already, nothing is asked.

        Raises:
            ContractError: Names table and ids.
        """
        for relation in self.relations:
            if relation.has_unique_id:
                continue
            query = sql.SQL("SELECT id FROM {} GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT {}").format(
                relation.name, sql.Literal(_SHOWN_IDS)
            )
            rows = self._ask(query, f"looking for repeated ids in {relation.table.name}")
            if rows:
                raise ContractError(
                    f"Source table {relation.table.name} repeats ids",
                    expected="each id once",
                    found=f"id {', '.join(str(row[0]) for row in rows)} more than once",
                    fix="remove the repeated rows, or give the table a primary key",
                )

    def _count(self, relation: Relation) -> int:
        query = sql.SQL("SELECT count(*) FROM {}").format(relation.name)
        return int(str(self._ask(query, f"counting {relation.table.name}")[0][0]))

    def _ask(self, query: sql.Composed, doing: str) -> list[tuple[object, ...]]:
        try:
            return self.connection.execute(query).fetchall()
        except psycopg.Error as error:
            raise failed_query(error, doing) from None


@contextmanager
def open_snapshot(
    address: SourceAddress, schema: str, *, include_full_data: bool, longest_s: float
) -> Iterator[SourceSnapshot]:
    """Pre-flight, lock, and export a snapshot of the source; close it at the end.

    The locks (ACCESS SHARE, as any SELECT takes) come before the snapshot: a TRUNCATE between the two would else make
    a table look empty to a snapshot that is older than it.

    Args:
        address: Where the source is.
        schema: Schema of both tables.
        include_full_data: Whether gleif_full_data will be read.
        longest_s: Longest time for a statement of the exporting connection, seconds.

    Raises:
        SourceError: What the pre-flight found (catalog.py, connection.py).
        ExtractError: A lock could not be had, or the connection broke.
    """
    application_name = f"lei-exports-{secrets.token_hex(6)}"
    connection = connect(address, application_name)
    try:
        try:
            check_server(connection)
            _set_up(connection, longest_s)
            relations = find_relations(connection, schema, include_full_data=include_full_data)
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
            for relation in relations:
                if relation.kind in _LOCKABLE:
                    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS SHARE MODE").format(relation.name))
            # Looked up again under the lock: an ALTER TABLE may have come in between.
            relations = find_relations(connection, schema, include_full_data=include_full_data)
            exported = connection.execute("SELECT pg_export_snapshot()").fetchone()
            position = connection.execute(_POSITION).fetchone()
        except psycopg.Error as error:
            raise failed_query(error, "preparing the export") from None
        assert exported is not None  # noqa: S101  a function without FROM gives one row
        assert position is not None  # noqa: S101
        yield SourceSnapshot(
            connection=connection,
            snapshot_id=str(exported[0]),
            relations=relations,
            source=_source_record(position, relations, schema, is_sample=address.is_sample),
            application_name=application_name,
            reader_url=reader_url(connection, application_name),
        )
    finally:
        connection.close()


def _set_up(connection: psycopg.Connection[tuple[object, ...]], longest_s: float) -> None:
    settings = {
        "lock_timeout": LOCK_TIMEOUT_MS,
        "statement_timeout": max(1, int(longest_s * 1000)),
        "idle_in_transaction_session_timeout": 0,
        "row_security": "off",
        "TimeZone": "UTC",
    }
    if connection.info.server_version >= 170_000:  # noqa: PLR2004  transaction_timeout came with 17
        settings["transaction_timeout"] = 0
    for name, value in settings.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))


def _source_record(
    position: tuple[object, ...], relations: tuple[Relation, ...], schema: str, *, is_sample: bool
) -> SourceRecord:
    system, database, database_oid, timeline, wal_position, micros, version = position
    return SourceRecord(
        identity=SAMPLE_IDENTITY if is_sample else f"{system}/{database}/{schema}",
        server_version=str(version),
        database_oid=int(str(database_oid)),
        timeline=int(str(timeline)),
        wal_position=str(wal_position),
        snapshot_at=datetime.fromtimestamp(int(str(micros)) / 1e6, UTC),
        relations={relation.table.name: relation.record(0) for relation in relations},
    )
