"""The interface of an engine: how tasks are fed, watched and stopped, whatever runs them."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable
from contextlib import AbstractContextManager
from itertools import islice
from typing import Any, Protocol, TypeVar

Task = TypeVar("Task")
Facts = TypeVar("Facts")
Task_contra = TypeVar("Task_contra", contravariant=True)
Facts_co = TypeVar("Facts_co", covariant=True)

WATCH_SECONDS = 0.5
# A server that is there cancels within milliseconds; a peer that fell silent never answers.
STOP_SECONDS = 5.0


def _do_nothing() -> None:
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


class Engine(ABC):
    """Runs functions of one task each: here, or on the nodes of a cluster.

    For ENGINE=ray function, tasks and facts must be picklable; functions are found by name in the code of the node. A
    task may run twice (a node was lost), so it must be repeatable without effect.

    Attributes:
        name: `local` or `ray`.
    """

    name: str

    def map(  # noqa: PLR0913  one call states all of it
        self,
        function: Callable[[Task], Facts],
        tasks: Iterable[Task],
        *,
        memory_bytes: int,
        at_a_time: int | None = None,
        watch: Callable[[], None] = _do_nothing,
        on_stop: Callable[[], None] = _do_nothing,
        on_give_up: Callable[[], None] = _do_nothing,
    ) -> Generator[Facts]:
        """Run a function on tasks; the facts as they come, in any order. Nothing begins before the first is asked for.

        When `watch` or a task raises, or the caller closes the iterator: what has not begun is dropped, and `on_stop`
        is called every 0.5 s until the rest has ended or 5 s are over. Then the error goes on; one of `watch` comes
        before one of a task, which may have failed because the caller stopped it.

        Args:
            function: What runs.
            tasks: Its arguments, consumed lazily: at most twice as many as can run at a time are in flight.
            memory_bytes: What a task needs at most, bytes. Ray starts one only where so much is free.
            at_a_time: Most tasks that run at a time, such as connections of a server. None: one for each core.
            watch: Called at least every 0.5 s in the calling thread, while it waits for facts; may raise.
            on_stop: Ends what tasks wait for, such as statements on a server.
            on_give_up: Called once where tasks did not end in 5 s: nobody waits for them any more.

        Raises:
            ExportError: Of a task, unchanged.
            EngineError: A node was lost too often, differs from this one, or none is large enough.
        """
        with self.open_calls(function, memory_bytes, at_a_time) as calls:
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
                if isinstance(error, Exception):  # neither GeneratorExit nor an interrupt: those say what to do
                    watch()  # why the caller stopped says more than a task that failed because of it
                raise

    @abstractmethod
    def open_calls(
        self, function: Callable[[Task], Facts], memory_bytes: int, at_a_time: int | None
    ) -> AbstractContextManager[Calls[Task, Facts]]:
        """What makes the calls of a `map`, while the block runs; the arguments are those of `map`."""

    @abstractmethod
    def ask_nodes(self, function: Callable[[Task], Facts], task: Task) -> dict[str, Facts]:
        """Run a function once on each node that takes tasks; a node's name to its answer. Locally the name is "".

        Raises:
            ExportError: Of the function.
            EngineError: There is no such node, or one does not answer or differs from this one.
        """


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
