"""The exported snapshot: one instant of the database, held open while every connection reads it (DESIGN 3.1)."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg
from psycopg import errors as pg
from psycopg import sql
from pydantic import SecretStr

from pipelines.contracts.records import SAMPLE_IDENTITY, RelationRecord, SourceRecord
from pipelines.errors import ContractError, ExtractError, SourceError
from pipelines.source.catalog import Relation, find_relations
from pipelines.source.connection import (
    LOCK_TIMEOUT_MS,
    Connection,
    SourceAddress,
    connect,
    failed_query,
    one_row,
)

_SHOWN_IDS = 5
_LOCK_TRIES = 5
# Beyond the longest time, so that the watchdog is first (read_watchdog.py): its error says which setting to raise.
TIMEOUT_MARGIN_S = 5
_FIRST_WITH_TRANSACTION_TIMEOUT = 170_000
_MAX_TIMEOUT_MS = 2**31 - 1
# So often a server process looks whether its client is still there: one of a killed run ends while it still computes.
_CLIENT_CHECK = {"client_connection_check_interval": "5s"}

POSITION = """
SELECT (SELECT system_identifier::text FROM pg_control_system()), current_database()::text,
       CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn() END::text,
       (extract(epoch FROM clock_timestamp()) * 1000000)::int8, current_setting('server_version')
"""


@dataclass(frozen=True)
class SourceSnapshot:
    """An open, exported snapshot.

    Attributes:
        address: Where every other connection of this run goes: the server that the exporting one reached.
        connection: The exporting connection; its transaction stays open as long as the snapshot is needed.
        snapshot_id: What other connections import.
        source: Identity and position; the rows of its relations are still 0.
        application_name: Name of every connection of this run, to find and cancel them by.
        reader_url: URL for connectorx; secret.
    """

    address: SourceAddress
    connection: Connection
    snapshot_id: str
    relations: tuple[Relation, ...]
    source: SourceRecord
    application_name: str
    session_settings: dict[str, str]
    reader_url: SecretStr

    def reader_setup(self) -> list[str]:
        """Statements that put a connection of connectorx into this snapshot, one each (FACTS 1.1)."""
        return [
            *set_statements(self.session_settings),
            "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
            f"SET TRANSACTION SNAPSHOT '{self.snapshot_id}'",
        ]

    @contextmanager
    def second_connection(self) -> Iterator[Connection]:
        """Another psycopg connection in this snapshot, closed at the end; this one where the server refuses another.

        Raises:
            ExtractError: The server no longer knows the snapshot, or the connection broke.
        """
        try:
            connection = connect(self.address, self.application_name)
        except (SourceError, ExtractError):
            yield self.connection  # its two users take turns then
            return
        try:
            if not self.is_imported_by(connection):
                raise self.lost_error("a second connection was opened")
            yield connection
        finally:
            connection.close()

    def is_imported_by(self, connection: Connection) -> bool:
        """Put a connection of psycopg into this snapshot; False where the server no longer knows it.

        Raises:
            ExtractError: The connection broke.
        """
        try:
            for statement in self.reader_setup():
                connection.execute(statement.encode())
        except psycopg.Error as error:
            if error.sqlstate is None:
                raise failed_query(error, "importing the snapshot") from None
            return False
        return True

    @staticmethod
    def lost_error(doing: str) -> ExtractError:
        """What a run says whose exporting connection has ended."""
        return ExtractError(
            f"The snapshot was lost while {doing}",
            expected="the connection that exported it to stay open",
            found="the connection broke, or the server ended it",
            fix="start the run again",
        )

    def check_unique_ids(self) -> None:
        """Stop at a repeated id (DESIGN 3.3). Where a unique index says so already, nothing is asked.

        Raises:
            ContractError: Names table and ids.
        """
        for relation in self.relations:
            if relation.has_unique_id or not relation.leaves:
                continue
            rows_of_all = sql.SQL(" UNION ALL ").join(
                sql.SQL("SELECT id FROM {}").format(leaf.source) for leaf in relation.leaves
            )
            query = sql.SQL("SELECT id FROM ({}) AS t GROUP BY id HAVING count(*) > 1 ORDER BY id LIMIT {}").format(
                rows_of_all, sql.Literal(_SHOWN_IDS)
            )
            try:
                rows = self.connection.execute(query).fetchall()
            except psycopg.Error as error:
                raise failed_query(error, f"looking for repeated ids in {relation.table.name}") from None
            if rows:
                raise ContractError(
                    f"Source table {relation.table.name} repeats ids",
                    expected="each id once",
                    found=f"id {', '.join(str(row[0]) for row in rows)} more than once",
                    fix="remove the repeated rows, or give the table a primary key",
                )


def set_statements(settings: dict[str, str]) -> list[str]:
    """What `set_up` has set, as statements for another session."""
    return [f"SET {name} = '{value}'" for name, value in settings.items()]


def set_up(connection: Connection, timeout_s: float) -> dict[str, str]:
    """Set what every session of a run sets, whatever server, database or role have as default; what that is."""
    statement_ms = min(int((timeout_s + TIMEOUT_MARGIN_S) * 1000), _MAX_TIMEOUT_MS)
    # The server's own end of the snapshot, for a client that is gone without the server hearing of it.
    session_ms = min(int((timeout_s + 2 * TIMEOUT_MARGIN_S) * 1000), _MAX_TIMEOUT_MS)
    settings = {
        "idle_in_transaction_session_timeout": str(session_ms),
        "idle_session_timeout": "0",
        "lock_timeout": str(LOCK_TIMEOUT_MS),
        "statement_timeout": str(statement_ms),
        "row_security": "off",
        "TimeZone": "UTC",
        # Where rows changed since the last VACUUM, it looks each up in the table, in the order of the index: counting
        # 4.7 million rows after five changes of 1 % took 20.5 s, a scan of the table 0.8 s.
        "enable_indexonlyscan": "off",
    }
    if connection.info.server_version >= _FIRST_WITH_TRANSACTION_TIMEOUT:
        settings["transaction_timeout"] = str(session_ms)
    set_one = "SELECT set_config(%s, %s, false)"
    for name, value in settings.items():
        connection.execute(set_one, (name, value))
    try:
        for name, value in _CLIENT_CHECK.items():
            connection.execute(set_one, (name, value))
    except pg.InvalidParameterValue:
        return settings  # a server whose system can't tell, such as Windows
    return settings | _CLIENT_CHECK


def begin(
    connection: Connection, relations: tuple[Relation, ...], schema: str, *, include_full_data: bool
) -> tuple[Relation, ...]:
    """Begin the transaction whose snapshot is exported, with both tables locked; the tables as they are in it."""
    for _ in range(_LOCK_TRIES):
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for relation in relations:
            # LOCK TABLE takes no snapshot yet; a SELECT does, so a rewrite may come between it and its lock.
            lock = "LOCK TABLE {} IN ACCESS SHARE MODE" if relation.can_lock else "SELECT FROM {} LIMIT 0"
            connection.execute(sql.SQL(lock).format(relation.name))
        # Looked up again under the lock: an ALTER TABLE may have come in between.
        relations = find_relations(connection, schema, include_full_data=include_full_data)
        if not any(relation.was_rewritten for relation in relations):
            return relations
        connection.execute("ROLLBACK")
    raise ExtractError(
        "A source table is rewritten again and again",
        expected="one that stays while it is locked",
        found=f"a TRUNCATE, REFRESH or the like at each of {_LOCK_TRIES} tries",
        fix="start the run again when that is done",
    )


def source_record(
    connection: Connection, relations: tuple[Relation, ...], schema: str, address: SourceAddress
) -> SourceRecord:
    """What is read over a connection; the rows of its relations are still 0."""
    system, database, wal_position, micros, version = one_row(connection, POSITION)
    return SourceRecord(
        identity=SAMPLE_IDENTITY if address.is_sample else f"{system}/{database}/{schema}",
        address="" if address.is_sample else address.named,
        server_version=version,
        wal_position=str(wal_position),  # NULL on a standby that has replayed nothing yet
        snapshot_at=datetime.fromtimestamp(micros / 1e6, UTC),
        relations={
            relation.table.name: RelationRecord(
                columns=relation.types, absent=relation.absent, unknown=relation.unknown, rows=0
            )
            for relation in relations
        },
    )
