"""Whether psycopg, which asks, and connectorx, which reads, are in one place: the same server, role and database.

Both are asked the same questions. That they are on one server is proved by a lock: psycopg holds an advisory lock of a
random number, connectorx waits for it, and psycopg sees it wait. No other server has that lock, and the number is
known to nobody but the two.
"""

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from pydantic import SecretStr

from pipelines.engine.local import Workers
from pipelines.errors import ExtractError, SourceError
from pipelines.source.connection import Connection, SourceAddress, connect, one_row
from pipelines.source.reader import read_query

# psycopg has just been answered within a moment. connectorx would try for 30 s, in a thread that nobody waits for.
_MEET_SECONDS = 15.0
_POLL_SECONDS = 0.01
# What a session has of its own: from libpq's environment (PGDATESTYLE, PGTZ, options), the role, the database, SET.
_ANSWERS = """
SELECT pg_backend_pid() AS pid, (extract(epoch FROM pg_postmaster_start_time()) * 1000000)::int8 AS started,
       coalesce(host(inet_server_addr()), '') AS address, coalesce(inet_server_port(), 0) AS port,
       current_database()::text AS database, session_user::text || '/' || current_user::text AS role,
       coalesce((SELECT ssl FROM pg_catalog.pg_stat_ssl WHERE pid = pg_backend_pid()), false) AS tls,
       (SELECT coalesce(jsonb_object_agg(name, setting), '{}')::text FROM pg_catalog.pg_settings
        WHERE source IN ('client', 'session', 'user', 'database', 'database user', 'global')) AS settings
"""
_WAITING = """
SELECT pid FROM pg_catalog.pg_locks
WHERE locktype = 'advisory' AND NOT granted AND objsubid = 1
  AND (classid::int8 << 32) | objid::int8 = %s
  AND database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
"""


@dataclass(frozen=True)
class Place:
    """What a connection says of itself.

    Attributes:
        started: When the server started, microseconds since 1970.
        address: The server's address; empty over a Unix socket.
        port: The server's port; 0 over a Unix socket.
        role: Its role, of the login and now.
        tls: Whether the server sees TLS.
        settings: What is set for this session alone, as JSON.
    """

    pid: int
    started: int
    address: str
    port: int
    database: str
    role: str
    tls: bool
    settings: str

    @property
    def server(self) -> tuple[int, str, int]:
        """What tells one server from another."""
        return self.started, self.address, self.port

    def __str__(self) -> str:
        """The server, for a message."""
        where = f"{self.address}:{self.port}" if self.address else "a socket"
        return f"{where}, started at {time.strftime('%Y-%m-%d %H:%M:%S', time.gmtime(self.started / 1e6))} UTC"


def ask_place(connection: Connection) -> Place:
    """What a connection of psycopg says of itself.

    Raises:
        psycopg.Error: The connection broke.
    """
    return Place(*one_row(connection, _ANSWERS))


def require_one_server(places: Sequence[Place]) -> None:
    """Stop where connections to one address reach several servers.

    Raises:
        SourceError: Names two of them.
    """
    first = places[0]
    for other in places[1:]:
        if other.server != first.server:
            raise SourceError(
                "Several servers stand behind the address of the source",
                expected="one server for every connection, as a snapshot is known to one only",
                found=f"{first}; and {other}",
                fix="point DATABASE_URL at one server, not at what spreads connections over several",
            )


def compare_drivers(
    exporter: Connection, address: SourceAddress, name: str, reader_url: SecretStr, setup: list[str]
) -> None:
    """Open one connection of connectorx as the readers will, and compare both drivers' answers.

    Args:
        exporter: The connection that asks; it has been set up as `setup` says.
        address: What it was opened with.
        name: application_name of a connection that may be tried.
        reader_url: What the readers will connect with; secret.

    Raises:
        SourceError: connectorx can't connect, or is not where psycopg is; it says in what they differ.
        ExtractError: The same, where the reason may pass by itself.
        psycopg.Error: The exporting connection broke.
    """
    number = secrets.randbits(62)
    query = f"{_ANSWERS}, true AS met FROM pg_advisory_xact_lock_shared({number})"
    here = ask_place(exporter)
    exporter.execute("SELECT pg_advisory_lock(%s)", (number,))

    def read(asked: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = read_query(reader_url, asked, setup).to_pylist()
        return rows

    with Workers(read, 1) as worker:
        reading = worker.submit(query.replace("\n", " ").strip())
        try:
            waiting: object = None
            until = time.monotonic() + _MEET_SECONDS
            while waiting is None and not reading.done() and time.monotonic() < until:
                row = exporter.execute(_WAITING, (number,)).fetchone()
                waiting = row[0] if row is not None else None
                time.sleep(_POLL_SECONDS)
        finally:
            exporter.execute("SELECT pg_advisory_unlock(%s)", (number,))
        try:
            answer = reading.result(timeout=max(1.0, until - time.monotonic()))[0]
        except (ExtractError, SourceError, TimeoutError):
            raise _no_reader(address, name) from None
    there = Place(**{field.name: answer[field.name] for field in fields(Place)})
    require_one_server([here, there])
    if waiting != there.pid:
        raise SourceError(
            "The connections that read rows do not reach the server that was asked",
            expected="one server for both",
            found=f"{here} for the questions; for the rows one that the first knows nothing of",
            fix="look at what stands between: it must pass every connection to the same server",
        )
    _require_same_session(here, there)


def _require_same_session(here: Place, there: Place) -> None:
    differing = [name for name in ("database", "role", "tls") if getattr(here, name) != getattr(there, name)]
    ours, theirs = json.loads(here.settings), json.loads(there.settings)
    differing += sorted(name for name in ours.keys() | theirs.keys() if ours.get(name) != theirs.get(name))
    if differing:
        raise SourceError(
            "The connections that read rows are not set up as the one that asks",
            expected="the same for both",
            found=f"another {', '.join(differing)}",
            fix="set it for the role (ALTER ROLE … SET), or by options in DATABASE_URL; not by variables that only"
            " libpq knows, such as PGDATESTYLE, PGTZ and PGGEQO",
        )


def _no_reader(address: SourceAddress, name: str) -> ExtractError | SourceError:
    """Why connectorx got no connection: as psycopg is refused now, or for a reason of connectorx's own."""
    try:
        connect(address, name).close()
    except (ExtractError, SourceError) as error:
        return error
    return SourceError(
        "The connections that read rows can't be opened",
        expected="that connectorx connects as psycopg does",
        found="psycopg connects, connectorx does not",
        fix="the server's log has the reason: see pg_hba.conf, the certificate, and what stands between",
    )
