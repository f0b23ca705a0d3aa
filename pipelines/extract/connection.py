"""Connections to the source: psycopg for questions, a URL for connectorx, and what a refused connection means.

Belongs here: how the source is reached. Does not: what is asked of it.
"""

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from urllib.parse import quote, urlencode

import psycopg
from psycopg import errors as pg
from pydantic import SecretStr

from pipelines.errors import ExportError, ExtractError, SourceError

CONNECT_SECONDS = 10
LOCK_TIMEOUT_MS = 5000
# A peer that is gone without a word is noticed after about a minute, not after two hours.
_KEEPALIVE_IDLE_S, _KEEPALIVE_INTERVAL_S, _KEEPALIVE_PROBES = 30, 10, 3

# libpq's words, as tried with psycopg 3.3: a failed connection mostly carries no SQLSTATE, so the text decides.
_CHECK_HOST = "check the host in DATABASE_URL; an @ or / in a password must be percent-encoded"
_REFUSALS = (
    ("pg_hba.conf rejects", "the server refuses this client", "see the line of pg_hba.conf that rejects it"),
    ("invalid integer value", "a port or time that is no number", "correct DATABASE_URL"),
    ("invalid sslmode", "an sslmode that is not known", "correct sslmode in DATABASE_URL"),
    ("invalid port number", "a port that is not known", "correct the port in DATABASE_URL"),
    ("password authentication failed", "authentication failed", "check user and password in DATABASE_URL"),
    ("no password supplied", "the server asks for a password", "put the password into DATABASE_URL, or use ~/.pgpass"),
    (
        "no pg_hba.conf entry",
        "the server refuses this client",
        "add a line for this host and role to pg_hba.conf, or use sslmode=require if it has one for TLS",
    ),
    ("root certificate file", "the CA file is missing", "check sslrootcert in DATABASE_URL"),
    ("does not exist", "the database or the role does not exist", "check both names in DATABASE_URL"),
    ("failed to resolve host", "the host name is unknown", _CHECK_HOST),
    ("could not translate host name", "the host name is unknown", _CHECK_HOST),
    ("name or service not known", "the host name is unknown", _CHECK_HOST),
    (
        "connection refused",
        "nothing listens there",
        "check host and port in DATABASE_URL, and that PostgreSQL is running",
    ),
    ("no such file", "no server at that socket", "check the socket folder in DATABASE_URL, and that PostgreSQL runs"),
    ("timeout expired", "no answer in time", "check host, port and firewall"),
    ("does not support ssl", "the server has no TLS", "turn TLS on in the server, or use sslmode=disable knowingly"),
    ("certificate", "the server's certificate was not accepted", "check sslrootcert and the host name in DATABASE_URL"),
    ("permission denied for database", "no CONNECT privilege", "GRANT CONNECT ON DATABASE … to the role"),
    ("not permitted to log in", "the role may not log in", "ALTER ROLE … LOGIN, or use another role"),
    ("too many", "the server has no free connection", "lower READ_CONNECTIONS or raise max_connections"),
    (
        "connection slots are reserved",
        "the server has no free connection",
        "lower READ_CONNECTIONS or raise max_connections",
    ),
    (
        "closed the connection unexpectedly",
        "it broke while it was made",
        "try again; look at the network, or at a pooler",
    ),
    ("starting up", "the server is starting", "try again"),
    ("shutting down", "the server is shutting down", "try again when it is up"),
)


@dataclass(frozen=True)
class SourceAddress:
    """Where the source is.

    Attributes:
        url: Its URL as libpq takes it; secret.
        is_sample: Whether it is the embedded server.
    """

    url: SecretStr
    is_sample: bool


def connect(address: SourceAddress, application_name: str) -> psycopg.Connection[tuple[object, ...]]:
    """Open a psycopg connection in autocommit mode.

    Raises:
        SourceError: The server can't be reached or refuses; says why, without URL or password.
    """
    try:
        connection = psycopg.connect(
            address.url.get_secret_value(),
            autocommit=True,
            connect_timeout=CONNECT_SECONDS,
            application_name=application_name,
            client_encoding="UTF8",
            keepalives_idle=_KEEPALIVE_IDLE_S,
            keepalives_interval=_KEEPALIVE_INTERVAL_S,
            keepalives_count=_KEEPALIVE_PROBES,
        )
    except psycopg.Error as error:
        raise refused(error) from None
    return connection


def cut_off(connection: psycopg.Connection[tuple[object, ...]]) -> None:
    """End a connection whose peer may never answer: whoever waits for an answer gets an error at once.

    Keepalives do not find such a peer where something between, such as a proxy, still acknowledges them.
    """
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as ours:
        ours.shutdown(socket.SHUT_RDWR)


def host_and_port(connection: psycopg.Connection[tuple[object, ...]]) -> str:
    """Host and port of a connection's URL, `<host>:<port>`; of several hosts all of them, as they stand there."""
    given = connection.info.get_parameters()
    hosts = (given.get("host") or given.get("hostaddr") or connection.info.host).casefold().split(",")
    ports = (given.get("port") or str(connection.info.port)).split(",")
    return ",".join(f"{host}:{port}" for host, port in zip(hosts, ports * len(hosts), strict=False))


@contextmanager
def cutting_off_after(seconds: float, *connections: psycopg.Connection[tuple[object, ...]]) -> Iterator[None]:
    """Cut connections off when the body takes longer than this."""

    def cut() -> None:
        for connection in connections:
            cut_off(connection)

    timer = threading.Timer(seconds, cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def refused(error: psycopg.Error) -> SourceError:
    """Say in our words why a connection failed: libpq's text may name what a URL holds."""
    if isinstance(error, psycopg.ProgrammingError):
        return SourceError(
            "DATABASE_URL can't be read",
            expected="a URL of PostgreSQL with user, password, host, port and database",
            found="something that is none, or an option that libpq does not know",
            fix="percent-encode special characters of user and password, such as %40 for @",
        )
    text = str(error).lower()
    for words, found, fix in _REFUSALS:
        if words in text:
            return SourceError("Can't connect to the source PostgreSQL", found=found, fix=fix)
    return SourceError(
        "Can't connect to the source PostgreSQL",
        found=f"{type(error).__name__} {error.sqlstate or ''}".strip(),
        fix="try the same URL with psql",
    )


def failed_query(error: psycopg.Error, doing: str) -> ExportError:
    """Turn an error of a query into ours: the SQLSTATE and its name, never the server's text (it may quote values)."""
    name = type(error).__name__
    if isinstance(error, pg.InsufficientPrivilege):
        return SourceError(
            f"PostgreSQL refused while {doing}",
            expected="SELECT on both tables, and no row-level security that hides rows",
            found="no privilege",
            fix="grant it: docs/security.md has the SQL",
        )
    if isinstance(error, pg.LockNotAvailable):
        return ExtractError(
            f"Gave up while {doing}",
            expected=f"a lock within {LOCK_TIMEOUT_MS / 1000:.0f} s",
            found="another session holds the table exclusively",
            fix="try again when the ALTER TABLE, VACUUM FULL or TRUNCATE is done",
        )
    if isinstance(error, pg.QueryCanceled):
        return ExtractError(
            f"PostgreSQL cancelled a query while {doing}",
            expected="an answer within EXPORT_MAX_SECONDS",
            found="a statement that took longer, or was cancelled by somebody",
            fix="start the run again, or raise EXPORT_MAX_SECONDS",
        )
    if isinstance(error, psycopg.OperationalError) and error.sqlstate is None:
        return ExtractError(
            f"PostgreSQL failed while {doing}",
            expected="a connection that lasts",
            found="the connection broke, or nobody answered any more",
            fix="start the run again; if it stays so, look at the network, and at what stands between",
        )
    return ExtractError(
        f"PostgreSQL failed while {doing}",
        found=f"{name} ({error.sqlstate or 'no SQLSTATE'})",
        fix="start the run again; if it stays so, the PostgreSQL server's log has the cause",
    )


def reader_url(connection: psycopg.Connection[tuple[object, ...]], application_name: str) -> SecretStr:
    """URL for connectorx that reaches the very server and database that a psycopg connection reached.

    Host, port, user and password come from the open connection, so that service files, ~/.pgpass and a list of hosts
    are already resolved. verify-ca and verify-full become `require` with the CA: the driver knows no more (FACTS 1.5),
    and the psycopg connection, opened first, has checked the host name.
    """
    info = connection.info
    host = info.host
    given = info.get_parameters()
    sslmode = given.get("sslmode", "prefer")
    query = {"application_name": application_name, "connect_timeout": str(CONNECT_SECONDS)}
    query |= {
        "keepalives_idle": str(_KEEPALIVE_IDLE_S),
        "keepalives_interval": str(_KEEPALIVE_INTERVAL_S),
        "keepalives_retries": str(_KEEPALIVE_PROBES),
    }
    if given.get("options"):
        query["options"] = given["options"]
    if host.startswith("/"):
        sslmode = "disable"
    elif info.hostaddr and info.hostaddr != host:
        query["hostaddr"] = info.hostaddr  # the name stays: a TLS proxy may choose the server by it
    if sslmode in {"verify-ca", "verify-full"}:
        sslmode = "require"
    query["sslmode"] = {"allow": "prefer"}.get(sslmode, sslmode)
    if given.get("sslrootcert"):
        if given["sslrootcert"] == "system":
            raise SourceError(
                "The connections that read rows can't check a certificate against the system's CAs",
                expected="a file of the CA that signs the server's certificate",
                found="sslrootcert=system",
                fix="set sslrootcert in DATABASE_URL to that file",
            )
        query["sslrootcert"] = given["sslrootcert"]
    login = quote(info.user, safe="") + (f":{quote(info.password, safe='')}" if info.password else "")
    place = quote(host, safe="") if host.startswith("/") else (f"[{host}]" if ":" in host else host)
    return SecretStr(
        f"postgresql://{login}@{place}:{info.port}/{quote(info.dbname, safe='')}?{urlencode(query, quote_via=quote)}"
    )
