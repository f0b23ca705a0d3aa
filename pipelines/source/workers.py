"""Threads for calls that may never return, such as a read from a peer that fell silent, and how to wait for them.

They are daemons: neither a run that gives them up nor the end of the process waits for them for ever, as it would for
those of ThreadPoolExecutor.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Self, TypeVar

from pipelines.source.read_watchdog import ReadWatchdog

Result = TypeVar("Result")
_END_SECONDS = 1.0
_WAIT_SECONDS = 0.5
# A server that is there cancels within milliseconds; a peer that fell silent never answers.
_GIVE_UP_SECONDS = 5.0
Answer = TypeVar("Answer")


class Workers:
    """Threads that take calls in their order; a context manager at whose end no thread of it does anything any more.

    Calls that have not begun are dropped. Only a thread that is inside a call that does not return is left alone.

    Args:
        count: How many calls run at a time.
        name: Of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._waiting: SimpleQueue[tuple[Future[object], Callable[[], object]] | None] = SimpleQueue()
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        """Nothing more to do: the threads run already."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Drop what has not begun, and wait for the threads, for a second."""
        self.drop_waiting()
        for _ in self._threads:
            self._waiting.put(None)
        until = time.monotonic() + _END_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def submit(self, function: Callable[..., Result], *arguments: object) -> Future[Result]:
        """Call a function when a thread is free."""
        future: Future[Result] = Future()
        self._waiting.put((future, lambda: function(*arguments)))  # type: ignore[arg-type]
        return future

    def drop_waiting(self) -> None:
        """Cancel the calls that have not begun."""
        while True:
            try:
                item = self._waiting.get_nowait()
            except Empty:
                return
            if item is not None:
                item[0].cancel()

    def _work(self) -> None:
        while (item := self._waiting.get()) is not None:
            future, call = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                result = call()
            except BaseException as error:  # noqa: BLE001  the thread that waits for the future gets it
                future.set_exception(error)
            else:
                future.set_result(result)
            del future, call, item


def run_watched(calls: Sequence[Callable[[], Answer]], watch: ReadWatchdog) -> list[Answer]:
    """Make calls at the same time; what they return, in their order."""
    with Workers(len(calls), "export-ask") as pool:
        futures = [pool.submit(call) for call in calls]
        try:
            wait_for(futures, watch)
        except BaseException:
            cancel_until_done(futures, watch)
            watch.raise_reason()
            raise
        return [future.result() for future in futures]


def wait_for(futures: list[Future[Any]], watch: ReadWatchdog) -> None:
    """Wait in short steps: a signal reaches the main thread between two of them."""
    pending = set(futures)
    while pending and not watch.has_reason:
        done, pending = wait(pending, timeout=_WAIT_SECONDS, return_when=FIRST_EXCEPTION)
        for future in done:
            future.result()
    watch.raise_reason()


def cancel_until_done(futures: list[Future[Any]], watch: ReadWatchdog) -> None:
    """Cancel what runs on the server until every call has ended; give up a server that does not answer."""
    # Again and again: a connection that is between two statements when it is cancelled goes on to the next one.
    until = time.monotonic() + _GIVE_UP_SECONDS
    while (pending := [future for future in futures if not future.done()]) and time.monotonic() < until:
        watch.cancel()
        wait(pending, timeout=_WAIT_SECONDS)
    if pending:
        watch.give_up()
