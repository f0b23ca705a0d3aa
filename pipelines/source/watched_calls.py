"""Calls to the server that end at once when the watch has a reason to stop them."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import Any, TypeVar

from pipelines.source.read_watchdog import ReadWatchdog
from pipelines.source.workers import Workers

_WAIT_SECONDS = 0.5
# A server that is there cancels within milliseconds; a peer that fell silent never answers.
_GIVE_UP_SECONDS = 5.0

Answer = TypeVar("Answer")


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
