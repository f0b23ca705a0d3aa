"""Waiting for a condition, never for a time."""

import time
from collections.abc import Callable


def wait_until(
    holds: Callable[[], object], seconds: float = 180, reason: Callable[[], object] = lambda: "waited in vain"
) -> None:
    """Wait until a condition holds; a limit is for what is wrong, not for a machine that is busy.

    Args:
        holds: The condition.
        seconds: The limit.
        reason: What the test fails with at the limit.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, reason()
        time.sleep(0.02)
