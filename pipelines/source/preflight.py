"""What a run and `doctor` ask of the source before anything is read, from the connection to the exported snapshot."""

import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import sql
from pydantic import SecretStr

from pipelines.checks.findings import Finding, Question, require_answers
from pipelines.contracts.records import SourceRecord
from pipelines.settings import Settings
from pipelines.source import exported_snapshot as snapshot
from pipelines.source.catalog import Relation, check_server, find_relations
from pipelines.source.connection import (
    Connection,
    SourceAddress,
    connect,
    cutting_off_after,
    failed_query,
    one_row,
    pin,
)
from pipelines.source.exported_snapshot import SourceSnapshot
from pipelines.source.pooler import require_session_pooling
from pipelines.source.reader_url import binds_channel, checks_host_name, reader_url
from pipelines.source.same_server import compare_drivers

# Catalogue questions take milliseconds, locks up to LOCK_TIMEOUT_MS each, a few times.
_ANSWER_SECONDS = 120.0
_FACTS = """
SELECT current_setting('server_version'), pg_is_in_recovery(), current_setting('hot_standby_feedback')::bool,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
"""


@dataclass
class SourcePreflight:
    """The questions to the source in the order of a run; what they found stays here for the run.

    Attributes:
        address: Where the source is; once connected, the very server that was reached.
        relations: Both source tables, once they are found.
        source: Identity and position, once the snapshot is exported.
    """

    address: SourceAddress
    settings: Settings
    relations: tuple[Relation, ...] = ()
    source: SourceRecord | None = None
    _name: str = field(default_factory=lambda: f"lei-exports-{secrets.token_hex(6)}")
    _connection: Connection | None = None
    _session_settings: dict[str, str] = field(default_factory=dict)
    _reader_url: SecretStr | None = None
    _snapshot_id: str = ""

    def questions(self) -> list[Question]:
        """What is asked, in its order. The connection is open afterwards: `close` ends it."""
        return [
            Question("connection", self._connect, is_needed=True),
            # Before anything is set or read: behind a pooler it would be set in a process of somebody else.
            self._question("pooler", "looking for a pooler", self._ask_pooler, is_needed=True),
            self._question("server", "asking for its version", self._ask_server, is_needed=True),
            self._question("row connections", "comparing both drivers", self._ask_drivers),
            self._question("tables", "looking at the source tables", self._ask_tables, is_needed=True),
            self._question("identity", "asking which server it is", self._ask_identity, is_needed=True),
            self._question("snapshot", "exporting a snapshot", self._export, is_needed=True),
        ]

    def exported(self) -> SourceSnapshot:
        """The snapshot; every question has been asked."""
        assert self._connection is not None  # noqa: S101  no question has failed
        assert self.source is not None  # noqa: S101
        assert self._reader_url is not None  # noqa: S101
        return SourceSnapshot(
            address=self.address,
            connection=self._connection,
            snapshot_id=self._snapshot_id,
            relations=self.relations,
            source=self.source,
            application_name=self._name,
            session_settings=self._session_settings,
            reader_url=self._reader_url,
        )

    def close(self) -> None:
        """End the connection, and with it the snapshot."""
        if self._connection is not None:
            self._connection.close()

    def _question(
        self, topic: str, doing: str, ask: Callable[[Connection], Iterable[Finding]], *, is_needed: bool = False
    ) -> Question:
        def answer() -> list[Finding]:
            assert self._connection is not None  # noqa: S101  the first question is needed
            seconds = min(_ANSWER_SECONDS, self.settings.export_max_seconds + snapshot.TIMEOUT_MARGIN_S)
            try:
                with cutting_off_after(seconds, self._connection):
                    return list(ask(self._connection))
            except psycopg.Error as error:
                raise failed_query(error, doing) from None

        return Question(topic, answer, is_needed)

    def _connect(self) -> list[Finding]:
        self._connection = connect(self.address, self._name)
        self.address = pin(self.address, self._connection)
        return [_describe_connection(self._connection)]

    def _ask_pooler(self, connection: Connection) -> list[Finding]:
        wanted = self.settings.read_connections + 1  # those that read, and one that watches
        require_session_pooling(self.address, connection, self._name, wanted)
        return [Finding("pooler", "ok", f"{wanted + 1} connections at a time, a server process for each")]

    def _ask_server(self, connection: Connection) -> Iterator[Finding]:
        check_server(connection)
        self._session_settings = snapshot.set_up(connection, self.settings.export_max_seconds)
        version, is_standby, has_feedback, is_superuser = one_row(connection, _FACTS)
        yield _describe_server(version, is_standby=is_standby, has_feedback=has_feedback)
        yield _describe_role(is_superuser=is_superuser)

    def _ask_drivers(self, connection: Connection) -> list[Finding]:
        is_bound = binds_channel(connection, self.address, self._name)
        self._reader_url = reader_url(connection, self.address, self._name, is_bound=bool(is_bound))
        setup = snapshot.set_statements(self._session_settings)
        compare_drivers(connection, self.address, self._name, self._reader_url, setup)
        return [_describe_drivers(is_bound=is_bound, checks_host_name=checks_host_name(connection))]

    def _ask_identity(self, connection: Connection) -> list[Finding]:
        connection.execute(snapshot.POSITION)
        return []

    def _ask_tables(self, connection: Connection) -> list[Finding]:
        self.relations = find_relations(
            connection, self.settings.source_schema, include_full_data=self.settings.include_full_data
        )
        return [_describe_table(relation) for relation in self.relations]

    def _export(self, connection: Connection) -> list[Finding]:
        schema = self.settings.source_schema
        self.relations = snapshot.begin(
            connection, self.relations, schema, include_full_data=self.settings.include_full_data
        )
        for relation in self.relations:
            columns = sql.SQL(", ").join(column.expression for column in relation.read_columns)
            for leaf in relation.leaves:
                # What hides below a view, such as row-level security, shows when rows are asked for, were it none.
                connection.execute(sql.SQL("SELECT {} FROM {} LIMIT 0").format(columns, leaf.source))
        (self._snapshot_id,) = one_row(connection, "SELECT pg_export_snapshot()")
        self.source = snapshot.source_record(connection, self.relations, schema, self.address)
        return [Finding("snapshot", "ok", "both tables can be locked (ACCESS SHARE) and read")]


@contextmanager
def open_snapshot(address: SourceAddress, settings: Settings) -> Iterator[SourceSnapshot]:
    """Ask, lock, and export a snapshot of the source; close it at the end.

    The locks (ACCESS SHARE, as any SELECT takes) come before the snapshot: a TRUNCATE between the two would else make
    a table look empty to a snapshot that is older than it.

    Raises:
        SourceError: What a question found.
        ExtractError: A lock could not be had, the server is full, or the connection broke.
    """
    preflight = SourcePreflight(address, settings)
    try:
        require_answers(preflight.questions())
        exported = preflight.exported()
        # Longer than the server's own limit: only a server that fell silent is still busy then.
        with cutting_off_after(settings.export_max_seconds + 2 * snapshot.TIMEOUT_MARGIN_S, exported.connection):
            yield exported
    finally:
        preflight.close()


def _describe_connection(connection: Connection) -> Finding:
    """How safe the connection is."""
    has_tls = bool(connection.pgconn.ssl_in_use)
    is_local = connection.info.hostaddr in {"", "127.0.0.1", "::1"}
    if has_tls or is_local:
        return Finding("connection", "ok", "encrypted (TLS)" if has_tls else "on this machine")
    return Finding(
        "connection",
        "warning",
        "not encrypted, to another machine",
        "add sslmode=verify-full and sslrootcert to DATABASE_URL (docs/security.md)",
    )


def _describe_drivers(*, is_bound: bool | None, checks_host_name: bool) -> Finding:
    """How the connections that read rows are.

    Args:
        is_bound: Whether they are bound to the certificate that was checked; None: none was.
        checks_host_name: Whether its host name was to be checked too.
    """
    found = "connectorx reaches the same server, role and database, set up alike"
    if is_bound:
        return Finding("row connections", "ok", f"{found}; bound to the certificate that was checked (SCRAM)")
    if is_bound is None or not checks_host_name:
        return Finding("row connections", "ok", found)
    return Finding(
        "row connections",
        "warning",
        f"{found}; they check the certificate's CA and not its host name: the role does not log in with SCRAM",
        "give the role a SCRAM password, or have sslrootcert be a CA that signs for no other host (docs/security.md)",
    )


def _describe_server(version: str, *, is_standby: bool, has_feedback: bool) -> Finding:
    """Which server it is."""
    if is_standby and not has_feedback:
        return Finding(
            "server",
            "warning",
            f"PostgreSQL {version}, a standby without hot_standby_feedback: it may cancel long reads",
            "turn hot_standby_feedback on, or raise max_standby_streaming_delay",
        )
    return Finding("server", "ok", f"PostgreSQL {version}{', a standby' if is_standby else ''}")


def _describe_table(relation: Relation) -> Finding:
    """What will be read of a table, and what makes every run slower."""
    topic = f"table {relation.table.name}"
    size = sum(leaf.bytes for leaf in relation.leaves)
    found = f"{relation.kind}, {len(relation.read_columns)} columns are read, {size:,} bytes"
    if relation.absent:
        found += f"; published as NULL: {', '.join(relation.absent)}"
    if relation.unknown:
        found += f"; left out: {', '.join(relation.unknown)}"
    if not all(leaf.has_pages for leaf in relation.leaves):
        return Finding(
            topic,
            "warning",
            f"{found}; without pages: it is read as one query",
            "export from the table itself, where memory or time is short",
        )
    if not relation.has_unique_id:
        return Finding(
            topic, "warning", f"{found}; no unique index on id: every run looks for repeated ids", "add a primary key"
        )
    return Finding(topic, "ok", found)


def _describe_role(*, is_superuser: bool) -> Finding:
    """Whether the role may more than it needs."""
    if is_superuser:
        return Finding(
            "privileges", "warning", "the role is a superuser", "use a role that can read two tables (docs/security.md)"
        )
    return Finding("privileges", "ok", "the role is no superuser")
