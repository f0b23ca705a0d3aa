"""How tasks are fed, watched and stopped, whatever runs them."""

import time
from collections.abc import Callable, Generator, Iterable
from itertools import islice
from typing import Any, Protocol, TypeVar

Task = TypeVar("Task")
Facts = TypeVar("Facts")
Task_contra = TypeVar("Task_contra", contravariant=True)
Facts_co = TypeVar("Facts_co", covariant=True)

WATCH_SECONDS = 0.5
# A server that is there cancels within milliseconds; a peer that fell silent never answers.
STOP_SECONDS = 5.0


def do_nothing() -> None:
    """Stand in where nothing has to be watched or stopped."""


class Calls(Protocol[Task_contra, Facts_co]):
    """The calls of one `map`, as an engine makes them. A call is a handle that can be in a set."""

    def bound(self) -> int:
        """How many calls may be in flight now: running, waiting, or done and not yet handed out."""

    def submit(self, task: Task_contra) -> Any:  # noqa: ANN401  a Future or an ObjectRef
        """Hand over a task; the call."""

    def wait(self, calls: set[Any], count: int, timeout_s: float) -> set[Any]:
        """Those that have ended, after so many have or the time is over."""

    def result(self, call: Any) -> Facts_co:  # noqa: ANN401
        """The facts of a call that has ended, or its error."""

    def cancel(self, calls: set[Any]) -> None:
        """Drop what has not begun."""

    def abandon(self, calls: set[Any]) -> None:
        """Let go of calls that did not end: nobody waits for them."""


def run_tasks(
    calls: Calls[Task, Facts],
    tasks: Iterable[Task],
    *,
    watch: Callable[[], None],
    on_stop: Callable[[], None],
    on_give_up: Callable[[], None],
) -> Generator[Facts]:
    """Run tasks; their facts as they come. The arguments are those of `Engine.map`."""
    waiting = iter(tasks)
    pending: set[Any] = set()

    def feed() -> None:
        pending.update(calls.submit(task) for task in islice(waiting, max(0, calls.bound() - len(pending))))

    try:
        feed()
        while pending:
            watch()
            for call in calls.wait(pending, 1, WATCH_SECONDS):
                pending.remove(call)
                yield calls.result(call)
                feed()  # not before: these facts may be the caller's reason to stop
    except BaseException as error:
        _stop(calls, pending, on_stop, on_give_up)
        if isinstance(error, Exception):  # neither GeneratorExit nor an interrupt: those say themselves what to do
            watch()  # why the caller stopped says more than a task that failed because of it
        raise


def _stop(
    calls: Calls[Task, Facts], pending: set[Any], on_stop: Callable[[], None], on_give_up: Callable[[], None]
) -> None:
    calls.cancel(pending)
    pending = pending - calls.wait(pending, len(pending), 0)
    until = time.monotonic() + STOP_SECONDS
    # Again and again: a connection that is between two statements when it is cancelled goes on to the next one.
    while pending and time.monotonic() < until:
        on_stop()
        pending -= calls.wait(pending, len(pending), WATCH_SECONDS)
    if pending:
        on_give_up()
        calls.abandon(pending)
