"""What the questions to the source found, in words."""

from pipelines.checks.findings import Finding
from pipelines.source.catalog import Relation
from pipelines.source.connection import Connection


def connection(connection: Connection) -> Finding:
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


def drivers(*, is_bound: bool | None, checks_host_name: bool) -> Finding:
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


def server(version: str, *, is_standby: bool, has_feedback: bool) -> Finding:
    """Which server it is."""
    if is_standby and not has_feedback:
        return Finding(
            "server",
            "warning",
            f"PostgreSQL {version}, a standby without hot_standby_feedback: it may cancel long reads",
            "turn hot_standby_feedback on, or raise max_standby_streaming_delay",
        )
    return Finding("server", "ok", f"PostgreSQL {version}{', a standby' if is_standby else ''}")


def table(relation: Relation) -> Finding:
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


def role(*, is_superuser: bool) -> Finding:
    """Whether the role may more than it needs."""
    if is_superuser:
        return Finding(
            "privileges", "warning", "the role is a superuser", "use a role that can read two tables (docs/security.md)"
        )
    return Finding("privileges", "ok", "the role is no superuser")
