"""Ctrl-C: one line for the person, whatever was going on when it came."""

import functools
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NoReturn, ParamSpec, TypeVar

from assets.cli.terminal import show_error
from pipelines.system.processes import notice_interrupts

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

    SQLAlchemy logs a connection that it could not close, Python what failed in a finalizer, each with a traceback.

    Yields:
        Whether it came.
    """
    hook, printer = sys.unraisablehook, logging.lastResort  # the latter is for loggers that nobody has set up
    with notice_interrupts() as has_come:

        def is_wanted(_: object) -> bool:
            return not has_come()

        def hear_unraisable(error: "sys.UnraisableHookArgs") -> None:
            if not (has_come() and issubclass(error.exc_type, Exception)):  # the interrupt itself is to be sent again
                hook(error)

        sys.unraisablehook = hear_unraisable
        if printer is not None:
            printer.addFilter(is_wanted)
        try:
            yield has_come
        finally:
            sys.unraisablehook = hook
            if printer is not None:
                printer.removeFilter(is_wanted)
