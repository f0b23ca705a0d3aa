"""Standard output and standard error that can't be written: a full disk below a log file, a reader that has gone.

A command that does something (run, rollback, prune) has done it whether or not that can be printed. A command that only
shows something has failed then.
"""

import io
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, TextIO, cast

import typer

from pipelines.errors import OutputError


def prepare_streams() -> None:
    """Let what is printed be taken by both streams: one that is closed (`>&-`) drops it as /dev/null does.

    Characters that the encoding of a stream does not know are escaped.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            nothing = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115  as long as the process lives
            os.set_inheritable(nothing.fileno(), True)
            setattr(sys, name, nothing)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class Output:
    """A text stream that survives an error of writing; what follows is dropped.

    Attributes:
        is_required: Whether such an error is raised, then and whenever the stream is flushed.
        failure: The first error; None: none.
    """

    def __init__(self, stream: TextIO, *, is_required: bool) -> None:
        self._stream = stream
        self.is_required = is_required
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write.

        Raises:
            OutputError: It failed, and it is required.
            typer.Exit: Who reads it has gone, as of `lei-exports snapshots | head`, and it is required.
        """
        return self._write(self._stream.write, text)

    @property
    def buffer(self) -> BinaryIO:
        """For bytes, whose errors of writing are treated as those of text."""
        return cast("BinaryIO", _OutputBytes(self, self._stream.buffer))

    def flush(self) -> None:
        """Bring everything to the file.

        Raises:
            OutputError: This or an earlier write failed, and it is required.
            typer.Exit: Who reads it has gone, as of `lei-exports snapshots | head`, and it is required.
        """
        try:
            self._stream.flush()
        except OSError as error:
            self._give_up(error)
        self._raise_failure()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  everything else is the stream's
        return getattr(self._stream, name)

    def _write(self, write: Callable[[Any], int], content: str | bytes) -> int:
        try:
            return write(content)
        except OSError as error:
            self._give_up(error)
            self._raise_failure()
            return len(content)

    def _give_up(self, error: OSError) -> None:
        self.failure = self.failure or error
        # What is in the stream's buffer would fail again when the interpreter ends, with an exit status of its own.
        with suppress(OSError, ValueError):
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self._stream.fileno())
            os.close(null)

    def _raise_failure(self) -> None:
        if self.failure is None or not self.is_required:
            return
        if isinstance(self.failure, BrokenPipeError):
            raise typer.Exit
        raise OutputError(
            "The output can't be written",
            found=self.failure.strerror or type(self.failure).__name__,
            fix="make room there, or write it elsewhere",
        )


class _OutputBytes:
    """The bytes below an Output."""

    def __init__(self, output: Output, stream: BinaryIO) -> None:
        self._output = output
        self._stream = stream

    def write(self, content: bytes) -> int:
        """As of Output."""
        return self._output._write(self._stream.write, content)  # noqa: SLF001

    def flush(self) -> None:
        """As of Output."""
        self._output.flush()

    def seekable(self) -> bool:
        """No, not even a file: it may hold something already, and a writer that goes back in it fails twice."""
        return False

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  as of Output
        return getattr(self._stream, name)


@contextmanager
def required_output() -> Iterator[None]:
    """While the block runs, a command whose standard output can't be written fails. Its errors are never required.

    Raises:
        OutputError: It can't be written.
    """
    former = sys.stdout, sys.stderr
    out = Output(sys.stdout, is_required=True)
    sys.stdout, sys.stderr = cast("TextIO", out), cast("TextIO", Output(sys.stderr, is_required=False))
    try:
        yield
    finally:
        try:
            with suppress(typer.Exit):
                out.flush()
        finally:
            sys.stdout, sys.stderr = former


@contextmanager
def dispensable_output() -> Iterator[None]:
    """While the block runs, output that can't be written is dropped: what the block does is what counts."""
    former = sys.stdout
    out = former if isinstance(former, Output) else Output(former, is_required=False)
    was_required, out.is_required = out.is_required, False
    sys.stdout = cast("TextIO", out)
    try:
        yield
    finally:
        out.flush()
        failure, out.failure = out.failure, None
        sys.stdout, out.is_required = former, was_required
        if failure is not None:
            reason = failure.strerror or type(failure).__name__
            with suppress(OSError):
                sys.stderr.write(f"Standard output could not be written: {reason}. The command went on.\n")
