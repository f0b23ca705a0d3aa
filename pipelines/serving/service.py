"""What all requests share: the snapshot, threads for queries with a time limit, turns for batches.

Belongs here: who may do how much at a time, and for how long. Does not: HTTP.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio import to_thread

from pipelines.errors import ExportError
from pipelines.reading.database import Reader
from pipelines.reading.queries import candidates_json
from pipelines.serving.holder import Opened, SnapshotHolder
from pipelines.serving.models import CANDIDATE_KEYS
from pipelines.serving.problems import too_busy
from pipelines.serving.settings import ServingSettings

_Result = TypeVar("_Result")
_LOG = logging.getLogger(__name__)

# More would wait for each other: queries are short, and mostly work of the processor.
_QUERY_THREADS = 8
# A request follows `current` at once; without requests it is looked at so often.
_FOLLOW_SECONDS = 2.0


class Service:
    """What a server's requests share; to be made inside its event loop."""

    def __init__(self, settings: ServingSettings) -> None:
        self.settings = settings
        self.holder = SnapshotHolder(settings)
        self._queries = anyio.CapacityLimiter(_QUERY_THREADS)
        self._threads = anyio.CapacityLimiter(_QUERY_THREADS)
        # A batch has threads of its own, so that batches do not keep queries waiting; their number is that of turns.
        self._batches = anyio.CapacityLimiter(settings.api_max_exports)
        self._turns = anyio.Semaphore(settings.api_max_exports)
        # One thread: what nobody waits for takes little from what somebody does.
        self._background = anyio.CapacityLimiter(1)
        self._tasks: set[asyncio.Task[None]] = set()
        self._reading_ahead: Opened | None = None

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Opened]:
        """The snapshot that is current now, kept until the block ends.

        Raises:
            SnapshotError: Nothing is published, or it can't be opened.
        """
        if self.holder.is_stale:
            await to_thread.run_sync(self.holder.refresh)
        with self.holder.lease() as opened:
            yield opened

    async def follow(self) -> None:
        """Pick up new snapshots where nobody asks for long, so that the old one's files are let go."""
        while True:
            await asyncio.sleep(_FOLLOW_SECONDS)
            if self.holder.is_stale:
                await to_thread.run_sync(self.holder.refresh)

    async def query(self, opened: Opened, work: Callable[[Reader], _Result]) -> _Result:
        """Run a query in a thread, with a time limit.

        Args:
            opened: A leased snapshot.
            work: What to ask a reader of it.

        Raises:
            QueryStoppedError: The time is over.
        """
        async with self._queries:
            with opened.database.reader() as reader:
                alarm = asyncio.get_running_loop().call_later(self.settings.api_query_seconds, reader.stop)
                try:
                    return await to_thread.run_sync(work, reader, limiter=self._threads)
                finally:
                    alarm.cancel()

    def read_ahead(self, opened: Opened, domain_id: int) -> None:
        """Read the candidates of a domain and its neighbours into the cache, in the background.

        Args:
            opened: A leased snapshot.
            domain_id: Id of a row of domain_exports.
        """
        opened.candidates.want(domain_id)
        if self._reading_ahead is not opened:
            self._reading_ahead = opened
            task = asyncio.create_task(self._read_wanted(opened))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _read_wanted(self, opened: Opened) -> None:
        cache = opened.candidates
        try:
            with self.holder.keep(opened):
                while not opened.is_retired and (group := cache.next_wanted()) is not None:
                    await self._read_group(opened, group)
        finally:
            if self._reading_ahead is opened:
                self._reading_ahead = None

    async def _read_group(self, opened: Opened, group: int) -> None:
        cache = opened.candidates

        def read() -> tuple[list[int], list[bytes]]:
            with opened.database.batch_reader(self.settings.api_batch_memory_mb) as reader:
                rows = candidates_json(reader, *cache.range_of(group), CANDIDATE_KEYS)
            return [row[0] for row in rows], [row[1].encode() for row in rows]

        try:
            ids, texts = await to_thread.run_sync(read, limiter=self._background)
            if cache.make_room(sum(map(len, texts))):
                await to_thread.run_sync(cache.write, texts, limiter=self._background)
                cache.add(group, ids, texts)
            else:
                cache.refuse(group)
        except ExportError as error:
            # Whoever asks for one of them hears of it. They may be too many for the memory: one domain's are not.
            _LOG.warning("Candidates are not kept: %s", error)
            cache.refuse(group)
        except OSError as error:
            cache.give_up(error)

    async def step(self, work: Callable[[], _Result]) -> _Result:
        """Run a part of a batch in a thread; whoever calls it has a turn."""
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
