"""How far a run is: the one message that every stage sends to its listener (terminal, Dagster log, test)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Stage = Literal["wait", "read", "build", "summarize", "publish", "push", "pull", "engine"]


@dataclass(frozen=True)
class Progress:
    """One message of a running stage.

    Attributes:
        stage: `wait`, `read`, `build`, `summarize`, `publish`, `push` (to object storage), `pull` (from there) or
            `engine` (a task ended on a node of a cluster).
        what: What was just done, a table or a step.
        done: Rows done so far in this stage; in `summarize` parts of rows, in `push` and `pull` bytes,
            in `engine` tasks.
        total: Rows (parts, bytes) in this stage; 0 while unknown.
        published: Id of the snapshot that this run has just pointed `current` at; "" in every other message.
    """

    stage: Stage
    what: str
    done: int = 0
    total: int = 0
    published: str = ""

    @property
    def unit(self) -> str:
        """What `done` and `total` count."""
        return {"summarize": "parts", "push": "bytes", "pull": "bytes", "engine": "tasks"}.get(self.stage, "rows")


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Take a message and do nothing."""


def report_wait(on_progress: OnProgress) -> Callable[[object], None]:
    """What says that a run waits for another one; it takes who that is."""
    return lambda holder: on_progress(Progress("wait", f"for the run of {holder or 'another process'}"))
