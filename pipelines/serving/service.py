"""What all requests share: the snapshot, threads for queries with a time limit, turns for batches, room for answers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio import to_thread

from pipelines.query.database import Reader
from pipelines.serving.problems import too_busy, too_large
from pipelines.serving.settings import ServingSettings
from pipelines.serving.snapshot_pool import OpenSnapshot, SnapshotPool

_Result = TypeVar("_Result")
# More would wait for each other: queries are short, and mostly work of the processor.
_QUERY_THREADS = 8
# Of API_MEMORY_MB: answers that are on their way to clients.
_SENDING_SHARE = 8
# A request follows `current` at once; without requests it is looked at so often.
_FOLLOW_SECONDS = 2.0


class Sending:
    """The bytes of all answers on their way: a slow client keeps its answer in memory. Used by the event loop only.

    Args:
        wait_seconds: How long an answer waits for others to be gone.
    """

    def __init__(self, max_bytes: int, wait_seconds: float) -> None:
        self._max_bytes = max_bytes
        self._wait_seconds = wait_seconds
        self._bytes = 0
        self._less = anyio.Event()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """An answer of so many bytes is sent while the block runs.

        Raises:
            ProblemError: It is too large, or others were not gone in time.
        """
        if size > self._max_bytes:
            raise too_large(f"The answer has {size:,} bytes, {self._max_bytes:,} are the most. Ask for less.")
        try:
            with anyio.fail_after(self._wait_seconds):
                while self._bytes + size > self._max_bytes:
                    await self._less.wait()
        except TimeoutError:
            raise too_busy("As much is being sent as may be at a time. Try again later.") from None
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            self._less.set()
            self._less = anyio.Event()


class Service:
    """What a server's requests share; to be made inside its event loop."""

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self.pool = SnapshotPool(settings)
        self.sending = Sending((self.pool.memory.megabytes << 20) // _SENDING_SHARE, settings.api_export_wait_seconds)
        self._queries = anyio.CapacityLimiter(_QUERY_THREADS)
        self._threads = anyio.CapacityLimiter(_QUERY_THREADS)
        # A batch has threads of its own, so that batches do not keep queries waiting; their number is that of turns.
        self._batches = anyio.CapacityLimiter(settings.api_max_exports)
        self._turns = anyio.Semaphore(settings.api_max_exports)

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[OpenSnapshot]:
        """The snapshot that is current now, kept until the block ends.

        Raises:
            SnapshotError: Nothing is published, or it can't be opened.
        """
        if self.pool.is_stale:
            await to_thread.run_sync(self.pool.refresh)
        with self.pool.lease() as opened:
            yield opened

    async def follow(self) -> None:
        """Pick up new snapshots where nobody asks for long, so that the old one's files are let go."""
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            if self.pool.is_stale:
                await to_thread.run_sync(self.pool.refresh)

    async def query(self, opened: OpenSnapshot, work: Callable[[Reader], _Result]) -> _Result:
        """Run a query in a thread, with a time limit.

        Args:
            work: What to ask a reader of it.

        Raises:
            AnswerTooLargeError: It needs more memory than there is.
            QueryStoppedError: The time is over.
        """
        async with self._queries:
            with opened.database.reader() as reader:
                alarm = asyncio.get_running_loop().call_later(self.settings.api_query_seconds, reader.stop)
                try:
                    return await to_thread.run_sync(work, reader, limiter=self._threads)
                finally:
                    alarm.cancel()

    async def step(self, work: Callable[[], _Result]) -> _Result:
        """Run a part of a batch in a thread; the caller has a turn."""
        return await to_thread.run_sync(work, limiter=self._batches)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """A turn to send a batch.

        Raises:
            ProblemError: There is none for too long.
        """
        try:
            with anyio.fail_after(self.settings.api_export_wait_seconds):
                await self._turns.acquire()
        except TimeoutError:
            raise too_busy("As many batches are being sent as may be at a time. Try again later.") from None
        try:
            yield
        finally:
            self._turns.release()
