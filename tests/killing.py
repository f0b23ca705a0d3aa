"""Runs an export in a process of its own that is killed (SIGKILL) at a chosen moment.

The processes are forked: a moment counts from the start of the run, not of Python.
"""

import os
import re
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from pipelines.contracts.tables import published_tables
from pipelines.export import run_export
from pipelines.settings import Settings
from tests.forking import CONTEXT
from tests.integration.kit import wait_until

_MAX_RUN_S = 60
_RENAMES = ("replace", "rename", "symlink")
_TABLES = "|".join(table.name for table in published_tables(include_full_data=False))
_NAMES = re.compile(rf"\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}|{_TABLES}|-?\d{{6,}}|\ball\b|[0-9a-f]{{8,}}")


def run_and_measure(settings: Settings) -> tuple[float, dict[str, int]]:
    """Run once to the end: seconds, and the number of the first rename of each kind.

    Renames of one kind differ in ids, segments and table names only: a kill at any of them is the same.
    """
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = _start(_measured, settings, sender)
    assert receiver.poll(_MAX_RUN_S), "the run did not end"
    seconds, renames = receiver.recv()
    process.join()
    assert process.exitcode == 0
    return seconds, renames


def run_and_kill_after(settings: Settings, seconds: float) -> bool:
    """Kill a run after some seconds; whether it was still running."""
    process = _begun(settings)
    process.join(seconds)
    return _kill(process)


def run_and_kill_once(settings: Settings, holds: Callable[[], bool]) -> bool:
    """Kill a run as soon as a condition holds; whether it was still running."""
    process = _begun(settings)
    wait_until(holds, _MAX_RUN_S)
    return _kill(process)


def run_and_kill_at_rename(settings: Settings, number: int, *, before: bool) -> None:
    """Let a run kill itself right before or after its n-th rename (from 0)."""
    process = _start(_killed_at_rename, settings, number, before)
    process.join(_MAX_RUN_S)
    assert process.exitcode == -signal.SIGKILL, "the run ended before that rename"


def _begun(settings: Settings) -> BaseProcess:
    receiver, sender = CONTEXT.Pipe(duplex=False)
    process = _start(_announced, settings, sender)
    assert receiver.poll(_MAX_RUN_S), "the run did not start"
    receiver.recv()
    return process


def _kill(process: BaseProcess) -> bool:
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def _start(target: Callable[..., None], *arguments: Any) -> BaseProcess:
    process = CONTEXT.Process(target=target, args=arguments)
    process.start()
    return process


def _announced(settings: Settings, sender: Connection) -> None:
    sender.send("started")
    run_export(settings)


def _measured(settings: Settings, sender: Connection) -> None:
    seen = _watch_renames(_let_pass)
    started = time.monotonic()
    run_export(settings)
    sender.send((time.monotonic() - started, seen.first_of_kind(settings.export_dir)))


def _killed_at_rename(settings: Settings, number: int, before: bool) -> None:  # noqa: FBT001  positional through a process
    def die(seen: int, *, before_it: bool) -> None:
        if seen == number and before_it == before:
            os.kill(os.getpid(), signal.SIGKILL)

    _watch_renames(lambda seen, *, before: die(seen, before_it=before))
    run_export(settings)


def _let_pass(_number: int, *, before: bool) -> None:
    """Do nothing at a rename."""


class _Renames:
    """The renames of a process so far, by their targets."""

    def __init__(self) -> None:
        self.targets: list[str] = []

    def first_of_kind(self, export_dir: Path) -> dict[str, int]:
        """Number of the first rename of each kind, by kind."""
        kinds: dict[str, int] = {}
        for number, target in enumerate(self.targets):
            kind = _NAMES.sub("*", os.path.relpath(target, export_dir))
            kinds.setdefault(kind, number)
        return kinds


def _watch_renames(hook: Callable[..., None]) -> _Renames:
    """Call a hook before and after each os.replace, os.rename and os.symlink of this process."""
    renames = _Renames()

    def wrap(original: Callable[..., None]) -> Callable[..., None]:
        def renaming(*arguments: Any, **options: Any) -> None:
            number = len(renames.targets)
            hook(number, before=True)
            original(*arguments, **options)
            hook(number, before=False)
            renames.targets.append(os.fspath(arguments[1]))

        return renaming

    for name in _RENAMES:
        setattr(os, name, wrap(getattr(os, name)))
    return renames
