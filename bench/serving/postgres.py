"""What a load costs PostgreSQL: processor time of its processes, transactions, rows.

Transactions and rows come from pg_stat_database; a backend adds its own at the latest when it ends, so they are read
before a server is started and after it was stopped.
"""

from typing import NamedTuple

import psutil
import psycopg


class Counters(NamedTuple):
    """Sums since the database was made.

    Attributes:
        transactions: Committed and rolled back.
        rows: Rows that scans read, of tables and by indexes.
    """

    transactions: int
    rows: int


class PostgresLoad:
    """A look at a PostgreSQL on this machine."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url) as connection:
            self._server = psutil.Process(psutil.Process(connection.info.backend_pid).ppid())

    def cpu_seconds(self) -> float:
        """Processor time of the server and its backends, those that ended too."""
        times = self._server.cpu_times()
        seconds = times.user + times.system + times.children_user + times.children_system
        for process in self._server.children(recursive=True):
            try:
                own = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            seconds += own.user + own.system
        return seconds

    def counters(self) -> Counters:
        """Counters of the database."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute(
                "SELECT xact_commit + xact_rollback, tup_returned + tup_fetched FROM pg_stat_database"
                " WHERE datname = current_database()"
            ).fetchone()
        assert row is not None  # noqa: S101  the database that was asked
        return Counters(*row)
