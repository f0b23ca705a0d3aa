"""The interface of an engine, and which one the settings want."""

import os
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from pipelines.engine.flow import Facts, Task, do_nothing
from pipelines.engine.local import LOCAL
from pipelines.progress import OnProgress, ignore_progress
from pipelines.settings import Settings

# Ray's own, where the operator has not set them. Ray reads them while it is imported.
_RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "3",  # else a task that runs out of memory is tried again for ever
    "RAY_BACKEND_LOG_LEVEL": "error",  # it repeats warnings on standard error each second
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning of what will change in Ray, about GPUs
}
# Tries to connect. Ray's own 20 take 20 s with a wrong token, and 14 minutes where only one side has TLS.
_CONNECT_TRIES = {"RAY_NUM_REDIS_GET_RETRIES": "3"}


class Engine(Protocol):
    """Runs functions of one task each: here, or on the nodes of a cluster.

    For ENGINE=ray function, tasks and facts must be picklable; functions are found by name in the code of the node. A
    task may run twice (a node was lost), so it must be repeatable without effect.
    """

    @property
    def name(self) -> str:
        """`local` or `ray`."""

    def map(  # noqa: PLR0913  one call states all of it
        self,
        function: Callable[[Task], Facts],
        tasks: Iterable[Task],
        *,
        memory_bytes: int,
        at_a_time: int | None = None,
        watch: Callable[[], None] = do_nothing,
        on_stop: Callable[[], None] = do_nothing,
        on_give_up: Callable[[], None] = do_nothing,
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

    def ask_nodes(self, function: Callable[[Task], Facts], task: Task) -> dict[str, Facts]:
        """Run a function once on each node that takes tasks; a node's name to its answer. Locally the name is "".

        Raises:
            ExportError: Of the function.
            EngineError: There is no such node, or one does not answer or differs from this one.
        """


@contextmanager
def open_engine(settings: Settings, on_progress: OnProgress = ignore_progress) -> Iterator[Engine]:
    """The engine of ENGINE while the block runs; at its end no task runs any more.

    Args:
        settings: `engine` and `ray_address` count.
        on_progress: Hears on which node each task ran (ENGINE=ray).

    Raises:
        EngineError: The cluster of RAY_ADDRESS can't be used, or none could be started.
    """
    if settings.engine == "local":
        yield LOCAL
        return
    for name, value in (_RAY_VARIABLES if settings.ray_address is None else _RAY_VARIABLES | _CONNECT_TRIES).items():
        os.environ.setdefault(name, value)
    from pipelines.engine.ray_cluster import RayEngine  # noqa: PLC0415  needs the extra `ray`
    from pipelines.engine.ray_connection import connected  # noqa: PLC0415

    with connected(settings.ray_address):
        yield RayEngine(on_progress)
