"""Runs an export in a process of its own that is killed (SIGKILL) at a chosen moment.

The processes are forked from a server that has everything imported (multiprocessing's forkserver): a moment counts from
the start of the run, not of Python.
"""

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from pipelines.run.export import run_export
from pipelines.settings import Settings

_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])
_LONGEST_RUN_S = 60
_RENAMES = ("replace", "rename", "symlink")


def run_and_measure(settings: Settings) -> tuple[float, int]:
    """Run once to the end: seconds and number of renames."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _start(_measured, settings, sender)
    assert receiver.poll(_LONGEST_RUN_S), "the run did not end"
    seconds, renames = receiver.recv()
    process.join()
    assert process.exitcode == 0
    return seconds, renames


def run_and_kill_after(settings: Settings, seconds: float) -> bool:
    """Kill a run after some seconds; whether it was still running."""
    receiver, sender = _CONTEXT.Pipe(duplex=False)
    process = _start(_announced, settings, sender)
    assert receiver.poll(_LONGEST_RUN_S), "the run did not start"
    receiver.recv()
    time.sleep(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def run_and_kill_at_rename(settings: Settings, number: int, *, before: bool) -> None:
    """Let a run kill itself right before or after its n-th rename (from 0)."""
    process = _start(_killed_at_rename, settings, number, before)
    process.join(_LONGEST_RUN_S)
    assert process.exitcode == -signal.SIGKILL, "the run ended before that rename"


def _start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = _CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def _announced(settings: Settings, sender: Connection) -> None:
    sender.send("started")
    run_export(settings)


def _measured(settings: Settings, sender: Connection) -> None:
    seen = _watch_renames(_let_pass)
    started = time.monotonic()
    run_export(settings)
    sender.send((time.monotonic() - started, seen[0]))


def _killed_at_rename(settings: Settings, number: int, before: bool) -> None:  # noqa: FBT001  positional through a process
    def die(seen: int, *, before_it: bool) -> None:
        if seen == number and before_it == before:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch_renames(lambda seen, *, before: die(seen, before_it=before))
    run_export(settings)


def _let_pass(_number: int, *, before: bool) -> None:
    """Do nothing at a rename."""


def _watch_renames(hook: Callable[..., None]) -> list[int]:
    """Call a hook before and after each os.replace, os.rename and os.symlink of this process; their number so far."""
    seen = [0]

    def wrap(original: Callable[..., None]) -> Callable[..., None]:
        def renaming(*arguments: Any, **options: Any) -> None:
            hook(seen[0], before=True)
            original(*arguments, **options)
            hook(seen[0], before=False)
            seen[0] += 1

        return renaming

    for name in _RENAMES:
        setattr(os, name, wrap(getattr(os, name)))
    return seen
