"""A terminal for tests: a command runs in one, and what a person then sees of it is text."""

import fcntl
import os
import pty
import re
import struct
import termios
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyte

from tests.forking import start_command

_CONTROLS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_LABEL = 10  # before a path
_ROWS = 300  # as if nothing scrolled away


@dataclass(frozen=True)
class Shown:
    """What is on the terminal at the end.

    Attributes:
        status: Exit status of the command.
        lines: The lines, without trailing blanks.
        sent: All that was sent to the terminal.
    """

    status: int
    lines: tuple[str, ...]
    sent: str

    @property
    def text(self) -> str:
        """The lines as one text."""
        return "\n".join(self.lines)


def show(
    arguments: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str],
    columns: int = 80,
    interrupt_at: str = "",
) -> Shown:
    """Run `lei-exports` in a terminal.

    Args:
        arguments: Of the command.
        folder: Where it runs.
        environment: Its variables, besides PATH and HOME.
        columns: Width of the terminal.
        interrupt_at: Ctrl-C is pressed as soon as this text was sent.
    """
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", _ROWS, columns, 0, 0))
    process = start_command(arguments, folder, {"TERM": "xterm-256color", **environment}, [theirs] * 3)
    os.close(theirs)
    screen, sent = pyte.Screen(columns, _ROWS), b""
    stream = pyte.ByteStream(screen)
    with suppress(OSError):  # EIO: the other end is closed
        while part := os.read(ours, 65536):
            sent += part
            stream.feed(part)
            if interrupt_at and interrupt_at in sent.decode(errors="replace"):
                os.write(ours, b"\x03")
                interrupt_at = ""
    os.close(ours)
    process.join(180)
    status = process.exitcode
    assert status is not None, "it does not end"
    assert not interrupt_at, f"{interrupt_at!r} was never shown: {sent.decode(errors='replace')}"
    lines = "\n".join(line.rstrip() for line in screen.display).rstrip().split("\n")
    return Shown(status, tuple(lines), sent.decode())


def broken_words(shown: Shown, columns: int) -> list[str]:
    """Lines that the terminal had to break, because they are wider than it, but for those that end with a long word."""
    found = []
    for line in shown.sent.split("\n"):
        text = _CONTROLS.sub("", line).rstrip("\r").rpartition("\r")[2]
        if len(text) > columns and len(text.split()[-1]) <= columns - _LABEL:
            found.append(text)
    return found
