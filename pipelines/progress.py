"""How far a run is: the one message that every stage sends to whoever watches (terminal, Dagster log, test)."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Progress:
    """One message of a running stage.

    Attributes:
        stage: `read`, `build` or `publish`.
        what: What was just done, a table or a step.
        done: Rows done so far in this stage, or steps where rows are not counted.
        total: Rows (steps) in this stage; 0 while unknown.
    """

    stage: str
    what: str
    done: int = 0
    total: int = 0


OnProgress = Callable[[Progress], None]


def ignore_progress(_: Progress) -> None:
    """Take a message and do nothing."""
