"""A second pair of eyes during the read: longest time, sessions that wait behind us, how far it is, stopping at once.

connectorx does not hear a signal before its query ends (FACTS 1.2), so a run is stopped from outside: its backends are
cancelled by name, over a connection of their own.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Self

import psycopg

from pipelines.errors import ExportError, ExtractError, LockContentionError
from pipelines.source.connection import Connection, abort_connection, one_row, try_to_connect
from pipelines.source.exported_snapshot import SourceSnapshot

_POLL_SECONDS = 0.5
_ANSWER_SECONDS = 2.0

# A session that waits for a lock that conflicts with ours (only ACCESS EXCLUSIVE does) holds up the SELECTs of the
# application. Whatever we hold counts: partitions, the tables below a view, indexes.
_WAITING = """
SELECT count(*) FROM pg_catalog.pg_locks w
WHERE NOT w.granted AND w.mode = 'AccessExclusiveLock' AND w.locktype = 'relation' AND EXISTS (
    SELECT FROM pg_catalog.pg_locks h JOIN pg_catalog.pg_stat_activity a ON a.pid = h.pid
    WHERE a.application_name = %s AND h.granted AND h.locktype = 'relation'
      AND h.database = w.database AND h.relation = w.relation)
"""
# Rows that running COPYs have sent; a role sees its own sessions without a privilege.
_COPIED = """
SELECT coalesce(sum(p.tuples_processed), 0)::int8
FROM pg_catalog.pg_stat_progress_copy p JOIN pg_catalog.pg_stat_activity a ON a.pid = p.pid
WHERE a.application_name = %s
"""
_EXPORTER = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_activity WHERE pid = %s)"
_CANCEL = """
SELECT pg_cancel_backend(pid) FROM pg_catalog.pg_stat_activity
WHERE application_name = %s AND pid <> pg_backend_pid()
"""


class ReadWatchdog:
    """Watches a snapshot from a thread of its own; a context manager around the read.

    When it sees a reason to stop it cancels every connection of the run and keeps the reason, which `raise_reason`
    raises in place of the errors that the cancelled reads then report.

    Args:
        timeout_s: Longest time for the read, seconds.

    Attributes:
        on_copied: Hears, twice a second, how many rows the server has sent of the reads that run.
    """

    def __init__(self, snapshot: SourceSnapshot, timeout_s: float) -> None:
        self.on_copied: Callable[[int], None] = lambda _: None
        self._address = snapshot.address
        self._exporter = snapshot.connection
        self._connection: Connection | None = None
        self._name = snapshot.application_name
        self._timeout_s = timeout_s
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._reason: ExportError | None = None
        self._thread = threading.Thread(target=self._run, name="export-watch", daemon=True)

    def __enter__(self) -> Self:
        """Start watching."""
        self._thread.start()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Stop watching; where the body failed (a signal, for one), cancel what still runs on the server."""
        self._stop.set()
        if error is not None:
            self.cancel()
        self._thread.join(timeout=_ANSWER_SECONDS)
        if self._thread.is_alive() and self._connection is not None:
            abort_connection(self._connection)
            self._thread.join(timeout=_ANSWER_SECONDS)

    def raise_reason(self) -> None:
        """Raise why the run was stopped, if it was. The thread may wait for a silent peer: the clock is looked at too.

        Raises:
            ExtractError: The longest time was over.
            LockContentionError: Another session waits for a lock behind this run.
        """
        self._reason = self._reason or self._late()
        if self._reason is not None:
            raise self._reason

    def cancel(self) -> None:
        """Cancel every statement of this run on the server; a server that is gone needs none."""
        helper = threading.Thread(target=self._cancel, name="export-cancel", daemon=True)
        helper.start()
        helper.join(timeout=_ANSWER_SECONDS)

    def give_up(self) -> None:
        """Where no cancel helped, nobody answers: let go of the exporting connection and of the threads that read."""
        abort_connection(self._exporter)

    def _cancel(self) -> None:
        with suppress(psycopg.Error), try_to_connect(self._address, f"{self._name}-cancel") as connection:
            connection.execute(_CANCEL, (self._name,))

    def _run(self) -> None:
        while self._reason is None and not self._stop.is_set():
            try:
                with try_to_connect(self._address, f"{self._name}-watch") as connection:
                    self._watch(connection)
            except psycopg.Error:
                # The server is full or gone, or ended this session: the reads say so themselves, the clock goes on.
                self._reason = self._reason or self._late()
                self._stop.wait(_POLL_SECONDS)

    def _watch(self, connection: Connection) -> None:
        self._connection = connection
        while not self._stop.wait(_POLL_SECONDS):
            self._reason = self._late() or self._in_the_way(connection) or self._without_exporter(connection)
            if self._reason is not None:
                connection.execute(_CANCEL, (self._name,))
                return
            copied = one_row(connection, _COPIED, (self._name,))
            with suppress(Exception):  # who shows it may fail, and the watch goes on
                self.on_copied(*copied)

    def _late(self) -> ExtractError | None:
        elapsed = time.monotonic() - self._started
        if elapsed <= self._timeout_s:
            return None
        return ExtractError(
            "The read took too long and was stopped",
            expected=f"at most EXPORT_MAX_SECONDS = {self._timeout_s:g} s",
            found=f"{elapsed:.1f} s",
            fix="raise EXPORT_MAX_SECONDS, or look for what slows the server down",
        )

    def _without_exporter(self, connection: Connection) -> ExtractError | None:
        """Reads under way go on; the next range would fail, after minutes."""
        (is_there,) = one_row(connection, _EXPORTER, (self._exporter.info.backend_pid,))
        if is_there:
            return None
        return ExtractError(
            "The connection that holds the snapshot was ended",
            expected="one that lasts until the last read ends",
            found="its server process is gone",
            fix="start the run again; if it stays so, the PostgreSQL server's log says who ended it",
        )

    def _in_the_way(self, connection: Connection) -> LockContentionError | None:
        (waiting,) = one_row(connection, _WAITING, (self._name,))
        if not waiting:
            return None
        return LockContentionError(
            "The run gave way to a session that waits for an exclusive lock on a source table",
            expected="no ALTER TABLE, TRUNCATE or VACUUM FULL during the export",
            found="one that waits behind it",
            fix="nothing to do: the run is tried again",
        )
