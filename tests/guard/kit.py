"""What the guard counts with: a relay that counts what PostgreSQL sends, and PostgreSQL's own count of rows scanned."""

import socket
import threading
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import conninfo

from tests.oracle.postgres import Cluster, Database
from tests.relay import Relay
from tests.waiting import wait_until

_SESSIONS = """
SELECT pid FROM pg_stat_activity
WHERE datname = current_database() AND backend_type = 'client backend' AND pid <> pg_backend_pid()
"""
_ROWS_READ = """
SELECT t.relname, t.seq_tup_read
    + coalesce((SELECT sum(i.idx_tup_read) FROM pg_stat_user_indexes AS i WHERE i.relid = t.relid), 0)
FROM pg_stat_user_tables AS t
"""


class CountingRelay(Relay):
    """Leads to a database's server, and counts the bytes that come from there."""

    def __init__(self, database: Database) -> None:
        parts = conninfo.conninfo_to_dict(database.conninfo)
        self._host, self._port = str(parts["host"]), int(str(parts.get("port") or 5432))
        self._guard = threading.Lock()
        self._received = 0
        super().__init__()
        here = conninfo.make_conninfo(database.conninfo, host="127.0.0.1", port=self.port)
        self.database = Cluster(here).database(database.name)

    def take_received(self) -> int:
        """Bytes that came from the server since the last call."""
        with self._guard:
            received, self._received = self._received, 0
        return received

    def _connect(self, _: socket.socket) -> socket.socket:
        if not self._host.startswith("/"):
            return socket.create_connection((self._host, self._port))
        found = socket.socket(socket.AF_UNIX)
        found.connect(f"{self._host}/.s.PGSQL.{self._port}")
        return found

    def _pass_on(self, data: bytes, client: socket.socket) -> None:
        with self._guard:
            self._received += len(data)
        client.sendall(data)


@dataclass(frozen=True)
class Scans:
    """How often the rows of both tables were read, by scans of pages or by an index."""

    domains: float
    gleif_candidates: float


def passes(database: Database) -> Scans:
    """Rows read since the last call of `forget_scans`, as a multiple of the rows that there are."""
    with database.connect(autocommit=True) as connection:
        _wait_until_alone(connection)
        found = {}
        for name, read in connection.execute(_ROWS_READ).fetchall():
            rows = connection.execute(f"SELECT count(*) FROM {name}".encode()).fetchone()
            found[name] = float(read) / rows[0]
        return Scans(**found)


def forget_scans(database: Database) -> None:
    """Count from nothing again."""
    with database.connect(autocommit=True) as connection:
        _wait_until_alone(connection)
        connection.execute("SELECT pg_stat_reset()")


def _wait_until_alone(connection: psycopg.Connection[Any]) -> None:
    """A session's counts are there for all as soon as it is gone."""
    wait_until(lambda: not connection.execute(_SESSIONS).fetchall())
