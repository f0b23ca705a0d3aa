"""Work that is done before its results are asked for, in order: what keeps both cores busy in every stage.

Polars and Arrow release Python's lock while they work.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Result = TypeVar("Result")


@contextmanager
def prefetch(tasks: Iterable[Callable[[], Result]], workers: int = 1) -> Iterator[Iterator[Result]]:
    """Results of tasks in their order; while one is used, the next ones are computed.

    However the block ends, no thread of it is left: tasks that have begun end, others never begin.

    Args:
        tasks: What to compute; each begins when there is room.
        workers: Tasks that are computed at a time. As many results are in memory, and the one in use, where the caller
            lets go of it (`del`) before the next one.

    Yields:
        The results. What the first failing task raised is raised in its place.
    """
    waiting: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(workers, "export-prefetch") as pool:

        def results() -> Iterator[Result]:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()

        try:
            yield results()
        finally:
            for future in waiting:
                future.cancel()
