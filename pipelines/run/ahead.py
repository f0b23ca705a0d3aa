"""Work that is done ahead of whoever takes its results, in order: what keeps both cores busy in every stage.

Belongs here: threads and order. Does not: what the work is. Polars and Arrow let go of Python's lock while they work.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def compute_ahead(tasks: Iterable[Callable[[], Result]], workers: int = 1) -> Iterator[Result]:
    """Results of tasks in their order; while one is used, the next ones are computed.

    Args:
        tasks: What to compute; each begins when there is room.
        workers: Tasks that are computed at a time. As many results are in memory, and the one in use, where
            whoever uses it lets go of it (`del`) before the next one.

    Raises:
        BaseException: What the first failing task raised; tasks that have not begun then never do.
    """
    with ThreadPoolExecutor(workers, "export-ahead") as pool:
        waiting: deque[Future[Result]] = deque()
        try:
            for task in tasks:
                waiting.append(pool.submit(task))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
