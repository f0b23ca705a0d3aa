"""Signals that have to wait: a step that is done whole or not at all, whatever an operator presses."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_STOPPING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Keep SIGINT and SIGTERM back while the block runs; they arrive at its end.

    Python handles signals in the main thread only, so in another one there is nothing to keep back. The block must be
    short: milliseconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []

    def keep(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    former = {number: signal.signal(number, keep) for number in _STOPPING}
    try:
        yield
    finally:
        for number, handler in former.items():
            # None: set by something other than Python, which can't be put back from here.
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for each in dict.fromkeys(received):
            signal.raise_signal(each)
