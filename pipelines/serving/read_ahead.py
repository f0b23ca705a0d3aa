"""Candidates of domains that were asked for, and of their neighbours, read into the cache by a process on idle time."""

import asyncio
import json
import logging
import os
import tempfile
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pipelines.contracts.tables import candidate_exports
from pipelines.query.candidate_worker import Group, WorkerTask
from pipelines.query.queries import array_queries
from pipelines.serving.candidate_cache import CandidateCache
from pipelines.serving.holder import OpenSnapshot, SnapshotHolder
from pipelines.serving.models import CANDIDATE_KEYS
from pipelines.system.child_errors import describe_stderr
from pipelines.system.processes import command_of, environment_of

_LOG = logging.getLogger(__name__)
_TABLE = candidate_exports(include_full_data=True).name
# With nothing to do for so long the process ends, and its memory is free.
_IDLE_SECONDS = 30.0
# So soon it notices that its snapshot is no longer the one that is served.
_LOOK_SECONDS = 0.5
# Its part of API_MEMORY_MB is an eighth, for DuckDB, and half as much for arrays. A group took 47 ms with 48 MB of
# DuckDB's, 63 with 24.
_SHARE, _ARRAYS_SHARE = 8, 16
# Ids and sizes of a group's arrays.
_LONGEST_LINE = 1 << 20


class ReadAhead:
    """Reads ahead from one snapshot at a time; to be made and used inside the event loop."""

    def __init__(self, holder: SnapshotHolder) -> None:
        self._holder = holder
        self._reading: tuple[OpenSnapshot, asyncio.Task[None]] | None = None
        self._more = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    def want(self, opened: OpenSnapshot, domain_id: int) -> None:
        """Have the candidates of a domain and its neighbours read, soon.

        Args:
            opened: A leased snapshot.
            domain_id: Id of a row of domain_exports.
        """
        if not opened.candidates.want(domain_id):
            return
        if self._reading is not None and self._reading[0] is opened:
            self._more.set()
            return
        task = asyncio.create_task(self._read(opened))
        self._reading = opened, task
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """End what runs."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self, opened: OpenSnapshot) -> None:
        try:
            with self._holder.keep(opened):
                async with _worker(opened, self._holder.memory.megabytes) as worker:
                    reading = asyncio.create_task(self._read_wanted(worker, opened.candidates))
                    try:
                        # Without idle time an answer may take for ever: that must not keep an old snapshot.
                        while not opened.is_retired and not reading.done():
                            await asyncio.wait({reading}, timeout=_LOOK_SECONDS)
                        if reading.done():
                            reading.result()
                    finally:
                        reading.cancel()
                    self._leave()  # before the process has ended: who wants something meanwhile gets another one
        except (OSError, EOFError, ValueError) as error:
            # Requests are answered all the same, each by a query of its own.
            what = (error.strerror if isinstance(error, OSError) else None) or "its process ended"
            _LOG.warning("Candidates are no longer read ahead: %s", what)
            opened.candidates.give_up()
        finally:
            self._leave()

    async def _read_wanted(self, worker: Process, cache: CandidateCache) -> None:
        """Read what is wanted, until nothing was for long."""
        while True:
            if (group := cache.next_wanted()) is not None:
                await _read_group(worker, cache, group)
                continue
            self._more.clear()
            try:
                await asyncio.wait_for(self._more.wait(), _IDLE_SECONDS)
            except TimeoutError:
                return

    def _leave(self) -> None:
        """The task that runs reads nothing more."""
        if self._reading is not None and self._reading[1] is asyncio.current_task():
            self._reading = None


async def _read_group(worker: Process, cache: CandidateCache, group: int) -> None:
    """Read a group into the cache.

    Raises:
        EOFError: The process has ended.
        OSError: The same, or the disk does not take it.
        ValueError: What it answered is cut off.
    """
    answer = await _ask(worker, Group(*cache.range_of(group), cache.offset, cache.room))
    if "too_large" in answer and cache.start_anew(answer["too_large"]):
        answer = await _ask(worker, Group(*cache.range_of(group), cache.offset, cache.room))
    if "ids" in answer:
        cache.add(group, answer["ids"], answer["sizes"])
    elif "disk" in answer:
        raise OSError(0, answer["disk"])
    else:
        cache.refuse(group)


async def _ask(worker: Process, group: Group) -> dict[str, Any]:
    assert worker.stdin is not None  # noqa: S101  PIPE
    assert worker.stdout is not None  # noqa: S101  PIPE
    worker.stdin.write(json.dumps(group).encode() + b"\n")
    await worker.stdin.drain()
    line = await worker.stdout.readline()
    if not line:
        raise EOFError
    answer: dict[str, Any] = json.loads(line)
    return answer


@asynccontextmanager
async def _worker(opened: OpenSnapshot, memory_mb: int) -> AsyncIterator[Process]:
    """The process; however the block ends, it has ended too."""
    queries = array_queries(opened.database.columns[_TABLE], CANDIDATE_KEYS)
    descriptor = opened.candidates.open_file()
    task = WorkerTask(
        database=str(opened.snapshot.database_path),
        memory_mb=memory_mb // _SHARE,
        most_bytes=(memory_mb << 20) // _ARRAYS_SHARE,
        domains=queries.domains,
        candidates=queries.candidates,
        descriptor=descriptor,
        parent=os.getpid(),
    )
    with tempfile.TemporaryFile() as errors:
        process = await asyncio.create_subprocess_exec(
            *command_of("pipelines.query.candidate_worker"),
            stdin=PIPE,
            stdout=PIPE,
            stderr=errors,
            env=environment_of(),
            pass_fds=(descriptor,),
            limit=_LONGEST_LINE,
        )
        try:
            assert process.stdin is not None  # noqa: S101  PIPE
            process.stdin.write(task.to_json().encode() + b"\n")
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            if said := describe_stderr(errors):
                _LOG.warning("The process that reads candidates ahead said %s", said)
