"""Ctrl-C: one line for the person, whatever was going on when it came."""

import functools
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import NoReturn, ParamSpec, TypeVar

from assets.cli.terminal import show_error

_SIGNALS_AT_ONCE = 64
INTERRUPTED = 130  # exit status, as a shell has it
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


def interruptible(function: Callable[_Given, _Result]) -> Callable[_Given, _Result]:
    """A command that ends with one line and status 130 where it is interrupted."""

    @functools.wraps(function)
    def run(*arguments: _Given.args, **options: _Given.kwargs) -> _Result:
        try:
            return function(*arguments, **options)
        except KeyboardInterrupt:
            end_interrupted()

    return run


def end_interrupted(what: str = "") -> NoReturn:
    """Say that the command was interrupted, and what that means, and end.

    Raises:
        SystemExit: Always, with status 130.
    """
    show_error(f"Interrupted. {what}".rstrip())
    sys.exit(INTERRUPTED)


@contextmanager
def watch_interrupts() -> Iterator[Callable[[], bool]]:
    """Notice Ctrl-C (or a SIGTERM), whatever handles it, and let libraries say nothing any more once it came.

    The exception that a handler raises can come out anywhere, and as another one: DuckDB makes `Query interrupted` of
    it, SQLAlchemy logs a connection that it could not close, Python a finalizer that was left, each with a traceback.

    Yields:
        Whether it came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    came: set[int] = set()
    ours, theirs = socket.socketpair()

    def has_come() -> bool:
        with suppress(OSError):  # nothing new, or the block has ended
            came.update(ours.recv(_SIGNALS_AT_ONCE))
        return not came.isdisjoint({signal.SIGINT, signal.SIGTERM})

    def is_wanted(_: object) -> bool:
        return not has_come()

    def hear_unraisable(error: "sys.UnraisableHookArgs") -> None:
        if not has_come():
            hook(error)

    hook, printer = sys.unraisablehook, logging.lastResort  # the latter is for loggers that nobody has set up
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        before = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        sys.unraisablehook = hear_unraisable
        if printer is not None:
            printer.addFilter(is_wanted)
        try:
            yield has_come
        finally:
            signal.set_wakeup_fd(before)
            sys.unraisablehook = hook
            if printer is not None:
                printer.removeFilter(is_wanted)
            has_come()
