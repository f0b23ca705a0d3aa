"""What libpq was given for a connection, and where each setting came from: URL, environment, service, home folder."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

import psycopg
from psycopg import conninfo, pq

URL = "DATABASE_URL"
# Our own values of these win over any other (connection.py).
OURS = frozenset({"application_name", "client_encoding", "connect_timeout"})
_HOME = ".postgresql"


def keywords() -> frozenset[str]:
    """The names of all settings that this libpq knows."""
    return frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults()) | {"ssl"}  # sslmode's old name


def given_in(url: str) -> dict[str, str]:
    """The settings of a URL but the password; none where libpq can't read it."""
    return {name: value for name, value in _parsed(url).items() if name != "password"}


def effective(options: Iterable[pq.ConninfoOption]) -> dict[str, str]:
    """The settings of a connection that differ from libpq's defaults, whatever set them; no password.

    Args:
        options: `info` of a PGconn, of a failed connection as well.
    """
    compiled = {option.keyword: option.compiled for option in pq.Conninfo.get_defaults()}
    return {
        option.keyword.decode(): option.val.decode(errors="replace")
        for option in options
        if option.val is not None and option.val != compiled.get(option.keyword) and option.keyword != b"password"
    }


def ambient(url: str) -> list[str]:
    """Environment variables that libpq takes a setting from which the URL does not hold."""
    given = _parsed(url)
    return [
        variable
        for option in pq.Conninfo.get_defaults()
        if option.envvar is not None
        and os.environ.get(variable := option.envvar.decode())
        and option.keyword.decode() not in given.keys() | OURS
    ]


def origin(name: str, value: str, url: str, settings: Mapping[str, str]) -> str:
    """Where a setting came from, for a message.

    Args:
        value: Its value; it is compared, not shown.
        settings: All settings of the connection (`effective`).
    """
    if name in given_in(url):
        return URL
    options = pq.Conninfo.get_defaults()
    variable = next((o.envvar.decode() for o in options if o.keyword.decode() == name and o.envvar), "")
    if variable and os.environ.get(variable) == value:
        return variable
    if service := settings.get("service"):
        return f"the service {service} ({'PGSERVICE' if 'service' not in given_in(url) else URL})"
    return "libpq's defaults"


def default_file(name: str) -> Path | None:
    """A file that libpq takes from the home folder when no setting names another; None where it is not there."""
    try:
        path = Path.home() / _HOME / name
    except RuntimeError:  # an account without a home folder
        return None
    return path if os.path.exists(path) else None  # noqa: PTH110  false, as for libpq, where HOME can't be searched


def root_certificate(settings: Mapping[str, str]) -> Path | None:
    """The file of CAs that libpq checks a server's certificate with; None where it checks none.

    libpq ignores a file that is not there unless sslmode is verify-ca or verify-full, and then it does not connect.
    """
    if named := settings.get("sslrootcert"):
        return Path(named) if os.path.exists(named) else None  # noqa: PTH110
    return default_file("root.crt")


def _parsed(url: str) -> dict[str, str]:
    try:
        return {name: str(value) for name, value in conninfo.conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        return {}
