"""How much memory the queries of a program take, all together: one figure in megabytes that nothing raises.

A quarter of it is the most that DuckDB ever has, half of that while several queries run: of rows that leave
it DuckDB makes up to three copies, which its own limit does not count. The rest is for these, and for what is made of
rows outside of DuckDB: Python's objects, text on its way to a client. A query that needs more than its share while
others run is asked once more when no other runs; an answer that does not fit even then is refused.
"""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress

import duckdb

_WAIT_SECONDS = 0.05
_LEAST_MB = 2  # of a file that nothing is read of
# Shares of the whole. Outside of DuckDB an answer is there about four times: as rows, checked, as text, compressed.
_OF_DUCKDB = 4
_OF_AN_ANSWER = 128
_OF_AN_ANSWER_ALONE = 16
_OF_ALL_CHUNKS = 16


class QueryMemory:
    """The memory of all queries of a program. Of use to all threads.

    Attributes:
        megabytes: All of it, MB.
        setting: How errors call it, with its value.
        duckdb_mb: DuckDB's part, MB; divided evenly where several files are open.
        answer_bytes: What may be fetched of an answer while others are, bytes.
        alone_bytes: The same while no other query runs.
        chunk_bytes: What may be fetched of a chunk of a batch.
    """

    def __init__(self, megabytes: int, setting: str, *, batches: int = 1, usual_duckdb_mb: int | None = None) -> None:
        """Divide it.

        Args:
            batches: Batches that are read at a time.
            usual_duckdb_mb: DuckDB's limit but for a query that runs alone, MB; None: half of its part.
        """
        total = megabytes << 20
        self.megabytes = megabytes
        self.setting = f"{setting} = {megabytes:,}"
        self.duckdb_mb = megabytes // _OF_DUCKDB
        self.answer_bytes = total // _OF_AN_ANSWER
        self.alone_bytes = total // _OF_AN_ANSWER_ALONE
        self.chunk_bytes = total // _OF_ALL_CHUNKS // batches
        self._usual_mb = min(usual_duckdb_mb or self.duckdb_mb // 2, self.duckdb_mb)
        self._condition = threading.Condition()
        self._running = 0
        self._waiting = 0
        self._is_alone = False
        self._limiting = threading.Lock()
        self._cursors: dict[duckdb.DuckDBPyConnection, duckdb.DuckDBPyConnection] = {}

    @contextmanager
    def shared(self, check: Callable[[], None] = lambda: None) -> Iterator[None]:
        """The block runs while others do.

        Args:
            check: Called while it waits for a query that runs alone; what it raises ends the wait.
        """
        with self._condition:
            while self._is_alone or self._waiting:
                check()
                self._condition.wait(_WAIT_SECONDS)
            self._running += 1
        try:
            yield
        finally:
            with self._condition:
                self._running -= 1
                self._condition.notify_all()

    @contextmanager
    def alone(
        self, check: Callable[[], None] = lambda: None, session: duckdb.DuckDBPyConnection | None = None
    ) -> Iterator[None]:
        """The block runs while no other does, and one file has all that is DuckDB's.

        Args:
            session: The file that has it; None: each keeps its part.
        """
        with self._condition:
            self._waiting += 1
            try:
                while self._is_alone or self._running:
                    check()
                    self._condition.wait(_WAIT_SECONDS)
                self._is_alone = True
            finally:
                self._waiting -= 1
                self._condition.notify_all()
        try:
            if session is None:
                yield
            else:
                # What the others have is a cache: nothing runs.
                self._limit([other for other in list(self._cursors) if other is not session], _LEAST_MB)
                self._limit([session], self.duckdb_mb)
                try:
                    yield
                finally:
                    self._divide()
        finally:
            with self._condition:
                self._is_alone = False
                self._condition.notify_all()

    def add(self, session: duckdb.DuckDBPyConnection) -> None:
        """One file more is open."""
        with self.alone():  # else memory that is in use would keep DuckDB from a lower limit
            # A cursor of its own: a connection refuses a call while another thread's is on its way.
            self._cursors[session] = session.cursor()
            self._divide()

    def remove(self, session: duckdb.DuckDBPyConnection) -> None:
        """One file less is open. It waits for no query."""
        with self._limiting:
            self._cursors.pop(session).close()
        with self._condition:
            is_alone = self._is_alone
        if not is_alone:  # else that divides it when it ends
            self._divide()

    def _divide(self) -> None:
        sessions = list(self._cursors)
        self._limit(sessions, max(_LEAST_MB, self._usual_mb // max(1, len(sessions))))

    def _limit(self, sessions: Iterable[duckdb.DuckDBPyConnection], megabytes: int) -> None:
        with self._limiting:
            for cursor in (self._cursors[session] for session in sessions if session in self._cursors):
                with suppress(duckdb.Error):  # more may be in use
                    cursor.execute(f"SET memory_limit = '{megabytes}MB'")
