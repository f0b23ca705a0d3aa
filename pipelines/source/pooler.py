"""Whether each of our connections has a process of one server to itself, as a snapshot needs (DESIGN 3.1).

A pooler in transaction or statement mode lends a process for one transaction at a time. connectorx hangs behind one
without an error (FACTS 1.5), so this is found out before anything is set or read: what we set would stay behind in the
processes of others.
"""

from contextlib import ExitStack

import psycopg

from pipelines.errors import SourceError
from pipelines.source.connection import Connection, SourceAddress, connect, cutting_off_after, one_row
from pipelines.source.same_server import ask_place, require_one_server

# A pool in session mode that has no process left lets a connection wait, for minutes if it may.
_ANSWER_SECONDS = 10.0


def require_session_pooling(address: SourceAddress, exporter: Connection, name: str, wanted: int) -> None:
    """Open as many connections as the read needs, at once, and close them: connectorx would try for 30 s (FACTS 1.2).

    Args:
        exporter: The connection that will export the snapshot; nothing was asked of it yet.
        name: application_name of the connections.
        wanted: Connections besides the exporter.

    Raises:
        SourceError: They reach several servers, or do not keep a process of their own each.
        ExtractError: The server has no room for them.
        psycopg.Error: A connection broke.
    """
    with ExitStack() as opened:
        others = [opened.enter_context(connect(address, name)) for _ in range(wanted)]
        connections = [exporter, *others]
        opened.enter_context(cutting_off_after(_ANSWER_SECONDS, *connections))
        try:
            require_one_server([ask_place(connection) for connection in connections])
            pids = [backend_pid(connection) for connection in connections]
            # Backwards, so that a pool that lends its processes in turn can't give the same ones by chance.
            again = [backend_pid(connection) for connection in reversed(connections)]
        except psycopg.OperationalError as error:
            if error.sqlstate is not None:
                raise
            raise SourceError(
                "The source took connections and did not answer on all of them",
                expected=f"{len(connections)} connections that are served at a time (READ_CONNECTIONS and 2 more)",
                found=f"none within {_ANSWER_SECONDS:.0f} s, or a connection that broke",
                fix="lower READ_CONNECTIONS, give the pool more server connections, or point DATABASE_URL at"
                " PostgreSQL itself",
            ) from None
    if len(set(pids)) < len(pids) or pids != again[::-1]:
        raise SourceError(
            "Two connections to the source share one server process",
            expected="a server process for each connection, as a snapshot needs",
            found="a pooler in transaction or statement mode",
            fix="point DATABASE_URL at PostgreSQL itself, or at a pool in session mode",
        )


def backend_pid(connection: Connection) -> int:
    """Id of the server process that answers this time.

    Raises:
        psycopg.Error: The connection broke.
    """
    pid: int = one_row(connection, "SELECT pg_backend_pid()")[0]
    return pid
