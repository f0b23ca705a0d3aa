"""Errors that are not ours, in words for an operator: the class, the system's reason, and where; never row content."""

import errno
import os
import re
import traceback
from pathlib import Path

from pipelines.errors import ExportError

# The text of an error may quote a value. So it is shown as far as its words are of this list, of which no row is made.
_WORDS = frozenset(
    "a access address allocate allocation already an and as at available be been broken busy by can can't cannot"
    " child closed connection could create database descriptors device directory disk does down ended end error"
    " exceeded executor exist exit failed failure file files for free from full handle has have i/o image in"
    " initialization internal invalid io is it large limit link loaded local locate lock locked malloc many map"
    " mmap memory missing must new no not number object of on only open operation or out pending permission"
    " permitted pipe pool process processes quota read ready refused reset resource resources running shared"
    " shutdown size small space spawn start storage stopped stream such supported symbolic system table"
    " temporarily terminated the thread threads time timed timeout to too unable unavailable under unexpected"
    " unexpectedly unknown unreachable unsupported use used value was were while with write".split()
)
_ERRNO = re.compile(r"\[Errno (\d+)\]")
_OUR_ROOMS = {"pipelines", "assets"}
# What a limit on memory looks like: the stack of a thread is taken from it too.
_MEMORY = re.compile(r"memory|alloc|new thread", re.IGNORECASE)


class UnexpectedError(ExportError):
    """An error that is not ours, with what can be shown of it."""


def as_unexpected(error: BaseException) -> UnexpectedError:
    """An error that is not ours as one of ours."""
    name = type(error).__name__
    reason = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else first_words(str(error))
    file = getattr(error, "filename", None) if isinstance(error, OSError) else None
    found = f"{name}{f': {reason}' if reason else ''}{f' ({file})' if isinstance(file, str) else ''}"
    lacks_memory = isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM
    lacks_memory = lacks_memory or _MEMORY.search(f"{name} {reason}") is not None
    return UnexpectedError(
        f"An unexpected error stopped it{_place(error)}",
        found=found,
        fix="give the process more memory and threads (ulimit -v, ulimit -u, the limits of its service or container)"
        if lacks_memory
        else "look at the reason; if it is none of this machine, report it with the line above and the version",
    )


def describe_message(name: str, message: str) -> str:
    """What can be shown of an error that is known by its class and text only, such as one of Dagster's event log."""
    number = _ERRNO.search(message)
    reason = os.strerror(int(number[1])) if number else first_words(message.removeprefix(f"{name}: "))
    return f"{name}: {reason}" if reason else name


def first_words(text: str) -> str:
    """The beginning of an error's text, as far as it can hold no row content."""
    words = []
    for word in text.split():
        if word.rstrip(".,:;").lower() not in _WORDS:
            break
        words.append(word)
    return " ".join(words).rstrip(".,:;")


def _place(error: BaseException) -> str:
    """The last line of our own code that was running."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        parts = Path(frame.filename).parts
        rooms = [number for number, part in enumerate(parts) if part in _OUR_ROOMS]
        if rooms and "site-packages" not in parts[rooms[-1] :]:
            return f" ({'/'.join(parts[rooms[-1] :])}, line {frame.lineno})"
    return ""
