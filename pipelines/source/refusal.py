"""Why a connection to PostgreSQL failed, found out in a way that no language changes.

libpq gives the text of a failed connection only, in the language of the server. Asked once more, with its verbosity
set, it gives the SQLSTATE and the place in PostgreSQL's source. What has no SQLSTATE failed before the server spoke:
name, address, TLS (wire.py).
"""

import ctypes
import os
import re
import select
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import psycopg
from psycopg import conninfo, pq

from pipelines.errors import ExportError, ExtractError, SourceError
from pipelines.source.libpq import ambient, effective, given_in, keywords, origin
from pipelines.source.sqlstates import Reason, reason_of
from pipelines.source.wire import SILENT, check_certificate, check_network

_CANT = "Can't connect to the source PostgreSQL"
_SECONDS = 10.0
_LAST_PORT, _PORT_DIGITS = 65_535, 5
_VERBOSE = 2  # PQERRORS_VERBOSE
_CODE = re.compile(r":  ([0-9A-Z]{5}): ")
_ROUTINE = re.compile(r":  (\w+), [^\s:]+:\d+$", re.MULTILINE)

_PLACE = frozenset({"host", "hostaddr", "port", "user"})  # stand in every message
_OPTIONS = "correct options in DATABASE_URL, or PGOPTIONS"
# What libpq demands of a server by itself, and does not name when it is not met.
_DEMANDS = frozenset(
    "target_session_attrs channel_binding require_auth requirepeer sslcert sslkey sslpassword sslcertmode sslcrl"
    " sslcrldir sslnegotiation gssencmode ssl_min_protocol_version ssl_max_protocol_version min_protocol_version"
    " max_protocol_version".split()
)
# (SQLSTATE, routine of PostgreSQL or "" for any other) to what was found and what to do.
_LOGIN = {
    ("28P01", ""): Reason("authentication failed", "check user and password in DATABASE_URL"),
    ("28000", "InitializeSessionUserId"): Reason(
        "the role does not exist, or may not log in",
        "check the user in DATABASE_URL, or ALTER ROLE … LOGIN",
    ),
    ("28000", ""): Reason(
        "the server refuses this client",
        "see the line of pg_hba.conf for this role, database and address: it may want TLS (sslmode=require) or a client"
        " certificate (sslcert); the server's log has the reason",
    ),
    ("3D000", ""): Reason("the database does not exist", "check its name in DATABASE_URL"),
    ("42501", "CheckMyDatabase"): Reason("no CONNECT privilege", "GRANT CONNECT ON DATABASE … to the role"),
    ("42501", ""): Reason("options set what the role may not set", _OPTIONS),
    ("42704", ""): Reason("options set what the server does not know", _OPTIONS),
    ("22023", ""): Reason("options set a value that the server does not take", _OPTIONS),
    ("55000", ""): Reason("the database takes no connections", "ALTER DATABASE … ALLOW_CONNECTIONS true"),
}


def explain_refusal(url: str, error: psycopg.Error) -> ExportError:
    """Say in our words why psycopg could not connect: neither URL nor password, nor the server's text.

    Args:
        url: What psycopg connected with; secret.

    Returns:
        SourceError; ExtractError where the reason may pass by itself, such as a server without a free connection.
    """
    if isinstance(error, psycopg.ProgrammingError):
        return _unreadable(url)
    names = ambient(url)
    settings = given_in(url)
    if error.pgconn is not None:
        # Without any host libpq takes a folder of sockets that it was built with.
        settings |= {"host": error.pgconn.host.decode(errors="replace")} | effective(error.pgconn.info)
    if isinstance(error, psycopg.errors.ConnectionTimeout):
        found, fix, may_pass = SILENT
    else:
        answer = _ask_again(url, settings)
        found, fix, may_pass = (
            _from_server(answer)
            or _from_settings(url, settings, answer.text)
            or check_network(settings)
            or check_certificate(settings)
            or _unknown(url, settings, answer)
        )
    if names and not any(name in found for name in names):
        found += f"; libpq also took {', '.join(names)} from the environment"
    return (ExtractError if may_pass else SourceError)(_CANT, found=found, fix=fix)


@dataclass
class _Answer:
    """What libpq says when it is asked once more."""

    is_connected: bool = False
    needs_password: bool = False
    text: str = ""
    has_codes: bool = False
    codes: Sequence[tuple[str, str]] = ()


def _ask_again(url: str, settings: dict[str, str]) -> _Answer:
    """Connect once more, to the address that refused, with libpq made to say the SQLSTATE."""
    answer = _Answer()
    where = {name: settings[name] for name in ("host", "hostaddr", "port") if settings.get(name)}
    connection = pq.PGconn.connect_start(conninfo.make_conninfo(url, **where).encode())
    try:
        answer.has_codes = _set_verbosity(connection)
        until = time.monotonic() + _SECONDS
        while connection.status != pq.ConnStatus.BAD and time.monotonic() < until:
            status = connection.connect_poll()
            if status == pq.PollingStatus.OK:
                answer.is_connected = True
                break
            if status == pq.PollingStatus.FAILED:
                break
            ready = select.poll()
            ready.register(connection.socket, select.POLLIN if status == pq.PollingStatus.READING else select.POLLOUT)
            ready.poll(max(0.0, until - time.monotonic()) * 1000)
        answer.text = connection.error_message.decode(errors="replace")
        answer.needs_password = bool(connection.needs_password)
    finally:
        connection.finish()
    codes, routines = _CODE.findall(answer.text), _ROUTINE.findall(answer.text)
    answer.codes = [(code, routines[n] if len(routines) == len(codes) else "") for n, code in enumerate(codes)]
    return answer


def _set_verbosity(connection: pq.abc.PGconn) -> bool:
    """Let libpq put the SQLSTATE into its message; psycopg has no call for it. Whether that worked."""
    module = sys.modules[type(connection).__module__].__file__
    try:
        # The extension module of psycopg: symbols of the libpq that it is linked with are found through it.
        set_verbosity = ctypes.CDLL(str(module)).PQsetErrorVerbosity
    except (OSError, AttributeError):
        return False
    set_verbosity.argtypes = [ctypes.c_void_p, ctypes.c_int]
    set_verbosity(connection.pgconn_ptr, _VERBOSE)  # type: ignore[attr-defined]
    return True


def _from_server(answer: _Answer) -> Reason | None:
    if answer.needs_password:
        return Reason("the server asks for a password", "put the password into DATABASE_URL, or use ~/.pgpass")
    if answer.codes:
        # Two where libpq tried with and without TLS: 28000 is then what the way that is not allowed got.
        code, routine = min(answer.codes, key=lambda found: found[0] == "28000")
        if login := _LOGIN.get((code, routine)) or _LOGIN.get((code, "")):
            return login
        reason = reason_of(code)
        return reason._replace(found=f"{reason.found} ({code})")
    if answer.is_connected:
        found = "a connection that was refused once, and was made when tried once more"
        return Reason(found, "start the run again", may_pass=True)
    return None


def _from_settings(url: str, settings: dict[str, str], text: str) -> Reason | None:
    for port in settings.get("port", "").split(","):
        if port and not (port.isdecimal() and len(port) <= _PORT_DIGITS and 0 < int(port) <= _LAST_PORT):
            where = origin("port", settings["port"], url, settings)
            return Reason(f"a port that is not known, in {where}", f"correct the port in {where}")
    hosts, addresses, ports = (settings.get(name, "").count(",") + 1 for name in ("host", "hostaddr", "port"))
    if settings.get("hostaddr") and settings.get("host") and addresses != hosts:
        found = f"hostaddr has {addresses} entries and host {hosts}"
        return Reason(found, "name an address for each host, or leave one of the two lists out")
    places = addresses if settings.get("hostaddr") else hosts
    if ports not in {1, places}:
        where = origin("port", settings["port"], url, settings)
        return Reason(f"port has {ports} entries and host {places}, in {where}", "name one port, or one for each host")
    service = settings.get("service") or os.environ.get("PGSERVICE", "")
    if service and (service in text or re.search(r"\bservice\b", text, re.IGNORECASE)):
        where = origin("service", service, url, settings)
        return Reason(
            f"{where} names the service {service}, and libpq finds no usable definition of it",
            f"define it in ~/.pg_service.conf (or the file of PGSERVICEFILE), or take it out of {where}",
        )
    place = settings.get("hostaddr") or settings.get("host")
    if place and place not in text and (named := _named(url, settings, text)):
        return named  # libpq did not come as far as to connect
    return None


def _unknown(url: str, settings: dict[str, str], answer: _Answer) -> Reason:
    """What is left: a value that libpq refuses, a demand of libpq that is not met, a connection that broke."""
    if named := _named(url, settings, answer.text):
        return named
    demands = [name for name in settings if name in _DEMANDS and (name, settings[name]) != ("sslcertmode", "allow")]
    if demands:
        found = f"the server does not meet what is asked of it by {_origins(demands, url, settings)}"
        return Reason(found, "correct it there, or the server")
    if not answer.has_codes:
        return Reason("a refusal that psycopg can't name here", "try the same URL with psql")
    return Reason("it broke while it was made", "try again; look at the network, or at a pooler", may_pass=True)


def _named(url: str, settings: dict[str, str], text: str) -> Reason | None:
    """The settings that libpq names as having a bad value: their names are the same in every language."""
    named = [n for n in settings if n not in _PLACE and re.search(rf"\b{re.escape(n)}\b", text)]
    if not named:
        return None
    return Reason(f"a value that libpq refuses: {_origins(named, url, settings)}", "correct it there")


def _origins(names: list[str], url: str, settings: dict[str, str]) -> str:
    return ", ".join(f"{name} in {origin(name, settings[name], url, settings)}" for name in names)


def _unreadable(url: str) -> SourceError:
    """A URL that libpq can't parse. Names of settings are shown where they can be no part of a password."""
    try:
        query = urlsplit(url).query
    except ValueError:
        query = ""
    given = [name for name, _ in parse_qsl(query, keep_blank_values=True)] if "@" not in query else []
    unknown = sorted({name for name in given if name not in keywords() and re.fullmatch(r"[A-Za-z_]\w*", name)})
    if unknown:
        schema = "; the schema is named by SOURCE_SCHEMA" if "schema" in unknown else ""
        return SourceError(
            "DATABASE_URL can't be read",
            expected="settings that libpq knows, after the question mark",
            found=f"the unknown setting {', '.join(unknown)}",
            fix=f"take it out of DATABASE_URL{schema}",
        )
    return SourceError(
        "DATABASE_URL can't be read",
        expected="a URL of PostgreSQL with user, password, host, port and database",
        found="something that is none",
        fix="percent-encode special characters of user and password, such as %40 for @",
    )
