"""A process of this program's own that works for this one: what may crash, or keeps much memory, does so there.

`child_process` starts it. Both sides send pickled values, over its standard input and output, one after the other. It
ends with its parent, however that ends: by the kernel's signal on Linux, elsewhere because its input ends. What it
writes to standard error is kept, and described for a log: kinds of errors and places in code. Its texts stay out, for
they can hold row content.
"""

import importlib
import os
import pickle
import re
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from queue import SimpleQueue
from typing import IO, Any

from pipelines.system.processes import command_of, die_with_parent, environment_of

Answer = Callable[[Any], None]
Serve = Callable[[Iterator[Any], Answer], None]
"""What such a process does: a function of a module, which takes the values that come and what sends one back."""

_END_SECONDS = 10
_MAX_BYTES = 65_536
# Of each the first group is what may be said; the last match of a text counts.
_KINDS = (
    re.compile(r"^(Fatal Python error: [A-Z][\w ]{1,40})", re.MULTILINE),
    re.compile(r"(error while loading shared libraries: [\w.+-]+)"),
    re.compile(r"(terminate called after throwing an instance of '[\w:<>]+')"),
    re.compile(r"(panicked at [\w./-]+:\d+)"),
    re.compile(r": ([A-Z]\w*Warning): "),
    re.compile(r"^(ModuleNotFoundError: No module named '[\w.]+')", re.MULTILINE),
    re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning|Interrupt|Exit))\b", re.MULTILINE),
)
_PLACE = re.compile(r'File "[^"\n]*?([\w.-]+)", line (\d+)')


class ChildEndedError(Exception):
    """The process ended before it answered.

    Attributes:
        status: Its exit status; negative: the signal that killed it.
        said: What it wrote to standard error, described; "" for nothing.
    """

    def __init__(self, status: int, said: str) -> None:
        super().__init__(status, said)
        self.status = status
        self.said = said


class Child:
    """The running process; `child_process` makes one."""

    def __init__(self, process: "subprocess.Popen[bytes]", errors: IO[bytes]) -> None:
        if process.stdin is None or process.stdout is None:
            raise AssertionError  # both are pipes
        self._process, self._errors = process, errors
        self._input, self._output = process.stdin, process.stdout

    def send(self, value: object) -> None:
        """Send a value; that the process has ended is found by the next `receive`."""
        with suppress(BrokenPipeError):
            pickle.dump(value, self._input)
            self._input.flush()

    def receive(self, max_seconds: float | None = None) -> Any:  # noqa: ANN401  whatever was sent
        """The next value that it sends.

        Args:
            max_seconds: After so long the process is killed; None: never.

        Raises:
            ChildEndedError: It ended before, or was killed for its time.
        """
        timer = None if max_seconds is None else threading.Timer(max_seconds, self._process.kill)
        try:
            if timer is not None:
                timer.start()  # in the block: where a signal interrupts it, a timer that runs would hold up the exit
            return pickle.load(self._output)  # noqa: S301  from a process of our own
        except (EOFError, pickle.UnpicklingError):
            raise ChildEndedError(self._process.wait(), describe_stderr(self._errors)) from None
        finally:
            if timer is not None:
                timer.cancel()

    def wait_for_end(self) -> str:
        """Wait until the process has done all, and ends by itself; what it wrote to standard error, described."""
        self._process.wait(_END_SECONDS)
        return describe_stderr(self._errors)


@contextmanager
def child_process(serve: Serve, keep_open: Sequence[int] = ()) -> Iterator[Child]:
    """Run a function in a process of its own while the block lasts; however the block ends, that has ended too.

    Args:
        serve: The function. Its process ends when it returns.
        keep_open: File descriptors that the process inherits: a lock that it holds until it has ended too.

    Raises:
        OSError: The process can't be started.
    """
    command = [*command_of(__name__), str(os.getpid()), serve.__module__, serve.__name__]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  a module of this package
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment_of(),
            pass_fds=tuple(keep_open),
        )
        try:
            yield Child(process, errors)
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()


def describe_stderr(errors: IO[bytes]) -> str:
    """Describe what a process wrote.

    Args:
        errors: The file that was its standard error; its last 64 KB are read.

    Returns:
        Such as `MemoryError at database_writer.py:41`; "" where it wrote nothing.
    """
    size = errors.seek(0, 2)
    errors.seek(max(0, size - _MAX_BYTES))
    text = errors.read().decode(errors="replace")
    if not text.strip():
        return ""
    kind = next((found[-1] for pattern in _KINDS if (found := pattern.findall(text))), "")
    places = _PLACE.findall(text)
    # A traceback ends with the innermost call; what is written at a crash begins with it.
    innermost = 0 if kind.startswith("Fatal") else -1
    place = " at {}:{}".format(*places[innermost]) if places else ""
    lines = len(text.strip().splitlines())
    return f"{kind}{place}" if kind else f"{lines} lines of no known kind{place}"


def _main(parent: int, module: str, name: str) -> None:
    """The process: serves what comes from standard input until that ends or the function returns."""
    die_with_parent(parent)
    output = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints is no answer
    received: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive_all, args=(received,), daemon=True).start()
    lock = threading.Lock()

    def answer(value: object) -> None:
        with lock:
            pickle.dump(value, output)
            output.flush()

    getattr(importlib.import_module(module), name)(iter(received.get, None), answer)
    # Without the interpreter's shutdown, which would wait for the thread that reads.
    sys.stderr.flush()
    os._exit(0)


def _receive_all(received: "SimpleQueue[Any]") -> None:
    try:
        while True:
            received.put(pickle.load(sys.stdin.buffer))  # noqa: S301  from the process that started this one
    except EOFError:
        os._exit(1)
    except BaseException:  # noqa: BLE001  such as a class that another version of the code does not have
        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)


if __name__ == "__main__":
    _main(int(sys.argv[1]), sys.argv[2], sys.argv[3])
