"""Connections of psycopg to the source, and what an error of a query means. Those of connectorx: reader_url.py."""

import os
import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, LiteralString

import psycopg
from psycopg import errors as pg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from pydantic import SecretStr

from pipelines.errors import ExportError, ExtractError, SourceError
from pipelines.source.refusal import explain_refusal
from pipelines.source.sqlstates import reason_of

Connection = psycopg.Connection[tuple[Any, ...]]

CONNECT_SECONDS = 10
LOCK_TIMEOUT_MS = 5000
# A peer that is gone without a word is noticed after about a minute, not after two hours.
KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_PROBES = 30, 10, 3
# A function of PostgreSQL's own, as it stands in a refusal of any language: names are not translated.
_FUNCTION = re.compile(r"\b(pg_\w+|inet_server_\w+|lo_\w+)\b")
_ANY_SERVER = {"target_session_attrs": "any", "load_balance_hosts": "disable"}
_REPORT = "report it with the versions of PostgreSQL and psycopg"
_EXPECTED = {
    pg.LockNotAvailable.sqlstate: f"a lock within {LOCK_TIMEOUT_MS / 1000:.0f} s",
    pg.QueryCanceled.sqlstate: "an answer within EXPORT_MAX_SECONDS",
    pg.InsufficientPrivilege.sqlstate: "SELECT on both tables, and no row-level security that hides rows",
}


@dataclass(frozen=True)
class SourceAddress:
    """Where the source is.

    Attributes:
        url: Its URL as libpq takes it; secret.
        is_sample: Whether it is the embedded server.
        named: Host and port as the URL, or the environment, names them; of several hosts all. Empty until it is pinned.
    """

    url: SecretStr
    is_sample: bool
    named: str = ""


def connect(address: SourceAddress, application_name: str) -> Connection:
    """Open a psycopg connection in autocommit mode, or say why not.

    Raises:
        SourceError: The server can't be reached or refuses; says why, without URL or password.
        ExtractError: The same, where the reason may pass by itself.
    """
    try:
        return try_to_connect(address, application_name)
    except UnicodeError:  # of a host's name as DNS has it, or of bytes that a URL stands for
        raise SourceError(
            "Can't connect to the source PostgreSQL",
            expected="host names of DNS, and UTF-8 in each part of DATABASE_URL and of the environment of libpq",
            found="a name or a value that is neither",
            fix="correct it; é in a password is %C3%A9",
        ) from None
    except psycopg.Error as error:
        raise explain_refusal(address.url.get_secret_value(), error) from None


def try_to_connect(address: SourceAddress, application_name: str, **more: str) -> Connection:
    """Open a psycopg connection in autocommit mode, where nobody asks why it can't be had.

    Args:
        more: Settings of libpq that win over those of the address.

    Raises:
        psycopg.Error: It can't be had. Its text may hold what a URL holds.
    """
    return psycopg.connect(
        address.url.get_secret_value(),
        autocommit=True,
        connect_timeout=CONNECT_SECONDS,
        application_name=application_name,
        client_encoding="UTF8",
        keepalives_idle=KEEPALIVE_IDLE_S,
        keepalives_interval=KEEPALIVE_INTERVAL_S,
        keepalives_count=KEEPALIVE_PROBES,
        **more,  # type: ignore[arg-type]
    )


def pin(address: SourceAddress, connection: Connection) -> SourceAddress:
    """The address of the very server that a connection reached, out of all that a URL may stand for.

    A list of hosts, a name with several addresses, load_balance_hosts and target_session_attrs have then done their
    work: every other connection of a run goes where the first one went.
    """
    info = connection.info
    given = info.get_parameters()
    place = {"host": info.host, "port": str(info.port)}
    if info.hostaddr:
        place["hostaddr"] = info.hostaddr
    place |= {name: value for name, value in _ANY_SERVER.items() if name in given}
    url = make_conninfo(address.url.get_secret_value(), **place)
    return replace(address, url=SecretStr(url), named=_named(address, connection))


def _named(address: SourceAddress, connection: Connection) -> str:
    """`<host>:<port>`. Not as the connection has them: psycopg makes one for each host, with that host alone."""
    given = {name: value for name, value in conninfo_to_dict(address.url.get_secret_value()).items() if value}
    for name in ("host", "hostaddr", "port"):
        if value := os.environ.get(f"PG{name.upper()}"):
            given.setdefault(name, value)
    hosts = str(given.get("host") or given.get("hostaddr") or connection.info.host).casefold().split(",")
    ports = str(given.get("port") or connection.info.port).split(",")
    return ",".join(f"{host}:{port}" for host, port in zip(hosts, ports * len(hosts), strict=False))


def abort_connection(connection: Connection) -> None:
    """End a connection whose peer may never answer: the thread that waits for an answer gets an error at once.

    Keepalives do not find such a peer where something between, such as a proxy, still acknowledges them.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def one_row(connection: Connection, query: LiteralString, values: tuple[object, ...] | None = None) -> tuple[Any, ...]:
    """The row of a query that always gives one, such as a SELECT without FROM.

    Raises:
        psycopg.Error: The query failed, or the connection broke.
    """
    row = connection.execute(query, values, prepare=False).fetchone()
    assert row is not None  # noqa: S101
    return row


@contextmanager
def cutting_off_after(seconds: float, *connections: Connection) -> Iterator[None]:
    """Cut connections off when the body takes longer than this."""

    def cut() -> None:
        for connection in connections:
            abort_connection(connection)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    try:
        timer.start()
        yield
    finally:
        timer.cancel()


def failed_query(error: psycopg.Error, doing: str) -> ExportError:
    """Turn an error of a query into ours: by its SQLSTATE, never the server's text (it may quote values).

    Args:
        doing: What the query was for, such as `counting domains`.

    Returns:
        ExtractError where a new try may succeed, else SourceError.
    """
    code = error.sqlstate
    if code is None:
        if not isinstance(error, psycopg.OperationalError):
            return SourceError(f"PostgreSQL failed while {doing}", found=type(error).__name__, fix=_REPORT)
        return ExtractError(
            f"PostgreSQL failed while {doing}",
            expected="a connection that lasts",
            found="the connection broke, or nobody answered any more",
            fix="start the run again; if it stays so, look at the network, and at what stands between",
        )
    reason = reason_of(code)
    function = _FUNCTION.search(error.diag.message_primary or "")
    if isinstance(error, pg.InsufficientPrivilege) and function:
        return SourceError(
            f"PostgreSQL refused while {doing}",
            expected=f"the privilege EXECUTE on the function {function[0]}",
            found="none",
            fix=f"GRANT EXECUTE ON FUNCTION {function[0]} TO the role",
        )
    kind = ExtractError if reason.may_pass else SourceError
    return kind(
        f"PostgreSQL failed while {doing}",
        expected=_EXPECTED.get(code, ""),
        found=f"{reason.found} ({code})",
        fix=reason.fix,
    )
