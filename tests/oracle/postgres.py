"""A PostgreSQL as tests use it: a new database for each. Where servers come from: tests/oracle/server.py."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

import psycopg
from psycopg import conninfo, sql


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
    def new_database(self, name: str | None = None) -> Iterator[Database]:
        """A new, empty database (UTF8, template0), dropped with FORCE at the end; its name is one that nobody has."""
        name = name or f"lei_test_{uuid.uuid4().hex[:12]}"
        self.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8'").format(sql.Identifier(name)))
        try:
            yield self.database(name)
        finally:
            self.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def execute(self, statement: sql.Composable) -> None:
        """Run a statement that allows no transaction."""
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
