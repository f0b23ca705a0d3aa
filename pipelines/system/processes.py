"""Processes of this program's own: how one is started, how it ends with its parent, and signals that come to it."""

import ctypes
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from contextvars import ContextVar
from pathlib import Path
from types import FrameType

_PR_SET_PDEATHSIG = 1
_STOPPING = (signal.SIGINT, signal.SIGTERM)
_AGAIN_SECONDS = 0.05
_SIGNALS_AT_ONCE = 64


def command_of(module: str) -> list[str]:
    """Program and arguments that run a module of this package, in the interpreter that runs now."""
    return [sys.executable, "-P", "-m", module]


def environment_of() -> dict[str, str]:
    """The environment in which such a process finds this package, wherever it was started.

    What crashes in it (a segmentation fault in a library) is written to its standard error, with the place.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return {**os.environ, "PYTHONPATH": path, "PYTHONFAULTHANDLER": "1"}


def die_with_parent(parent: int, number: signal.Signals = signal.SIGKILL) -> None:
    """End when the parent ends, even by SIGKILL. On Linux only: elsewhere a process sees the end of its stdin.

    Args:
        number: The signal that ends this one then.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)


def ending_with(parent: int, command: Sequence[str]) -> list[str]:
    """Command of a program that is asked to end (SIGTERM) when a process does: die_with_parent for what is not ours."""
    return [*command_of(__name__), str(parent), *command]


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


class _Arrivals:
    """SIGINT and SIGTERM as they come to this process, written down before Python hands them to a handler."""

    def __init__(self) -> None:
        self._ours, self._theirs = socket.socketpair()
        self._came = bytearray()
        self._ours.setblocking(False)
        self._theirs.setblocking(False)

    @contextmanager
    def written(self) -> Iterator[None]:
        """Write them down while the block runs."""
        with self._ours, self._theirs:
            before = signal.set_wakeup_fd(self._theirs.fileno(), warn_on_full_buffer=False)
            try:
                yield
            finally:
                signal.set_wakeup_fd(before)
                self.count()

    def count(self) -> int:
        """How many came so far; after the block, how many came in it."""
        with suppress(OSError):  # nothing new, or the block has ended
            self._came += self._ours.recv(_SIGNALS_AT_ONCE)
        return sum(number in _STOPPING for number in self._came)


_arrivals: ContextVar[_Arrivals | None] = ContextVar("arrivals", default=None)


@contextmanager
def notice_interrupts() -> Iterator[Callable[[], bool]]:
    """Notice SIGINT and SIGTERM, whatever handles them.

    The exception that a handler raises may be lost, or come out as another one: DuckDB makes the RuntimeError
    `Query interrupted` of each. Nothing is noticed outside of the main thread: Python handles signals there.

    Yields:
        Whether one came since the block began.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    outer = _arrivals.get()
    arrivals = outer or _Arrivals()
    with nullcontext() if outer else arrivals.written():
        before = arrivals.count()
        token = _arrivals.set(arrivals)
        try:
            yield lambda: arrivals.count() > before
        finally:
            _arrivals.reset(token)


@contextmanager
def keep_interrupts(kind: type[BaseException]) -> Iterator[None]:
    """See to it that an interrupt ends the block, as the exception that the handler of the signal raises in it.

    The handler raises wherever the main thread is. Where that is a finalizer or a callback of the garbage collector,
    Python hands the exception to `sys.unraisablehook` and goes on, as if nobody had interrupted anything: then it is
    sent again. Where a library made another error of it, that one is replaced.

    Args:
        kind: The exception that the handler of SIGINT raises in the block.
    """
    with notice_interrupts() as was_interrupted:

        def hear(error: "sys.UnraisableHookArgs") -> None:
            if issubclass(error.exc_type, Exception) or not was_interrupted():
                former(error)
                return
            # Not from here: the exception would come out in this hook, which drops it too.
            again = threading.Timer(_AGAIN_SECONDS, os.kill, (os.getpid(), signal.SIGINT))
            again.daemon = True
            again.start()

        former = sys.unraisablehook
        sys.unraisablehook = hear
        try:
            yield
        except (kind, KeyboardInterrupt, SystemExit, GeneratorExit):
            raise
        except BaseException:
            if was_interrupted():
                raise kind from None
            raise
        finally:
            sys.unraisablehook = former


if __name__ == "__main__":  # as `ending_with` starts it; prctl(2) outlives the exec
    die_with_parent(int(sys.argv[1]), signal.SIGTERM)
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606  what its parent wants
