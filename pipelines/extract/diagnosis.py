"""What a run would find at the source, looked at without a run: connection, server, pooler, privileges, columns.

Belongs here: the same questions that a run asks before it reads, each answered though another one failed. Does not:
reading rows.
"""

from collections.abc import Iterator

import psycopg

from pipelines.errors import ExportError
from pipelines.extract.catalog import Relation, check_server, find_relations
from pipelines.extract.connection import SourceAddress, connect, cutting_off_after, failed_query, reader_url
from pipelines.extract.pooler import check_own_processes
from pipelines.findings import Finding, failed

_NAME = "lei-exports-doctor"
_ANSWER_SECONDS = 20.0
_FACTS = """
SELECT current_setting('server_version'), pg_is_in_recovery(),
       coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()), false),
       current_setting('hot_standby_feedback')::bool,
       (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user)
"""


def diagnose_source(
    address: SourceAddress, schema: str, *, include_full_data: bool, read_connections: int
) -> Iterator[Finding]:
    """Look at everything that a run needs of the source; nothing is locked or changed.

    Args:
        address: Where the source is.
        schema: Schema of both tables.
        include_full_data: Whether gleif_full_data would be read.
        read_connections: Reads at a time.
    """
    try:
        connection = connect(address, _NAME)
    except ExportError as error:
        yield failed("connection", error)
        return
    try:
        with cutting_off_after(_ANSWER_SECONDS, connection):
            yield from _diagnose(connection, address, schema, read_connections, include_full_data=include_full_data)
    except psycopg.Error as error:
        yield failed("connection", failed_query(error, "looking at the source"))
    finally:
        connection.close()


def _diagnose(
    connection: psycopg.Connection[tuple[object, ...]],
    address: SourceAddress,
    schema: str,
    read_connections: int,
    *,
    include_full_data: bool,
) -> Iterator[Finding]:
    # First, and before anything else is asked: behind a pooler the answers would be of one process or another.
    wanted = read_connections + 1
    try:
        check_own_processes(address, connection, _NAME, wanted)
    except ExportError as error:
        yield failed("pooler", error)
        return
    yield Finding("pooler", "ok", f"{wanted + 1} connections at a time, a server process for each")
    facts = connection.execute(_FACTS).fetchone()
    assert facts is not None  # noqa: S101  a SELECT without FROM gives one row
    version, is_standby, has_tls, has_feedback, is_superuser = str(facts[0]), *facts[1:]
    yield _connection(connection, has_tls=bool(has_tls))
    try:
        reader_url(connection, _NAME)
        check_server(connection)
    except ExportError as error:
        yield failed("server", error)
        return
    yield _server(version, is_standby=bool(is_standby), has_feedback=bool(has_feedback))
    try:
        relations = find_relations(connection, schema, include_full_data=include_full_data)
    except ExportError as error:
        yield failed("tables", error)
        return
    for relation in relations:
        yield _table(relation)
    yield _role(is_superuser=bool(is_superuser))


def _connection(connection: psycopg.Connection[tuple[object, ...]], *, has_tls: bool) -> Finding:
    is_local = connection.info.host.startswith("/") or connection.info.hostaddr in {"127.0.0.1", "::1"}
    if has_tls or is_local:
        return Finding("connection", "ok", "encrypted (TLS)" if has_tls else "on this machine")
    return Finding(
        "connection",
        "warning",
        "not encrypted, to another machine",
        "add sslmode=verify-full and sslrootcert to DATABASE_URL (docs/security.md)",
    )


def _server(version: str, *, is_standby: bool, has_feedback: bool) -> Finding:
    if is_standby and not has_feedback:
        return Finding(
            "server",
            "warning",
            f"PostgreSQL {version}, a standby without hot_standby_feedback: it may cancel long reads",
            "turn hot_standby_feedback on, or raise max_standby_streaming_delay",
        )
    return Finding("server", "ok", f"PostgreSQL {version}{', a standby' if is_standby else ''}")


def _table(relation: Relation) -> Finding:
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


def _role(*, is_superuser: bool) -> Finding:
    if is_superuser:
        return Finding(
            "privileges", "warning", "the role is a superuser", "use a role that can read two tables (docs/security.md)"
        )
    return Finding("privileges", "ok", "SELECT on every column that is read")
