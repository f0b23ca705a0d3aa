"""What every engine does."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

from pipelines.engine.local import LOCAL
from pipelines.progress import OnProgress
from pipelines.settings import Settings

Task = TypeVar("Task")
Facts = TypeVar("Facts")


class Engine(Protocol):
    def map(
        self,
        function: Callable[[Task], Facts],
        tasks: Iterable[Task],
        *,
        memory_bytes: int,
        at_a_time: int | None = None,
        watch: Callable[[], None] = ...,
        on_stop: Callable[[], None] = ...,
        on_give_up: Callable[[], None] = ...,
    ) -> Generator[Facts]: ...


@contextmanager
def open_engine(settings: Settings, on_progress: OnProgress) -> Iterator[Engine]:
    yield LOCAL
