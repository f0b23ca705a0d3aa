"""The engine of one process: threads, for calls that may never return, such as a read from a peer that fell silent.

They are daemons: neither a run that gives them up nor the end of the process waits for them for ever, as it would for
those of ThreadPoolExecutor.
"""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, wait
from queue import SimpleQueue
from typing import Generic, Self

from pipelines.engine.flow import Engine, Facts, Task

_END_SECONDS = 1.0
# Each task takes its memory; of more cores the threads of Polars make use.
_MOST_AT_A_TIME = 4


class LocalEngine(Engine):
    """Runs tasks on threads of this process.

    Unless `at_a_time` is stated, a task runs on each core, four at most, and as many wait.
    """

    name = "local"

    def open_calls(
        self,
        function: Callable[[Task], Facts],
        memory_bytes: int,  # noqa: ARG002  `at_a_time` is what bounds the memory of one process
        at_a_time: int | None,
    ) -> "Workers[Task, Facts]":
        """As `Engine.open_calls`."""
        width = at_a_time or min(_MOST_AT_A_TIME, _usable_cores())
        return Workers(function, width, waiting=0 if at_a_time else width)

    def ask_nodes(self, function: Callable[[Task], Facts], task: Task) -> dict[str, Facts]:
        """As `Engine.ask_nodes`: this process is the only node, and has no name."""
        return {"": function(task)}


class Workers(Generic[Task, Facts]):
    """Threads that take tasks in their order; a context manager at whose end no thread of it does anything any more.

    Only a thread that is inside a call that does not return is left alone.
    """

    def __init__(self, function: Callable[[Task], Facts], count: int, *, waiting: int = 0) -> None:
        self._function = function
        self._bound = count + waiting
        self._waiting: SimpleQueue[tuple[Future[Facts], Task] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"export-task-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        """Nothing more to do: the threads run already."""
        return self

    def __exit__(self, *_error: object) -> None:
        """End the threads; wait for them, for a second."""
        for _ in self._threads:
            self._waiting.put(None)
        until = time.monotonic() + _END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def bound(self) -> int:
        """As `Calls.bound`."""
        return self._bound

    def submit(self, task: Task) -> Future[Facts]:
        """As `Calls.submit`."""
        future: Future[Facts] = Future()
        self._waiting.put((future, task))
        return future

    def wait(self, calls: set[Future[Facts]], count: int, timeout_s: float) -> set[Future[Facts]]:
        """As `Calls.wait`."""
        return wait(calls, timeout_s, FIRST_COMPLETED if count == 1 else ALL_COMPLETED).done

    def result(self, call: Future[Facts]) -> Facts:
        """As `Calls.result`."""
        return call.result()

    def cancel(self, calls: set[Future[Facts]]) -> None:
        """As `Calls.cancel`."""
        for call in calls:
            call.cancel()

    def abandon(self, calls: set[Future[Facts]]) -> None:
        """Nothing can be done about a thread inside a call."""

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            future, task = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                facts = self._function(task)
            except BaseException as error:  # noqa: BLE001  the thread that waits for the future gets it
                future.set_exception(error)
            else:
                future.set_result(facts)
            del future, task, item


def _usable_cores() -> int:
    """Cores that this process may use: a container or taskset may leave it fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


LOCAL = LocalEngine()
"""The engine where none is stated: it has no state of its own."""
