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
from tests.waiting import wait_until

_MAX_RUN_S = 180
_RENAMES = ("replace", "rename", "symlink")
_TABLES = "|".join(table.name for table in published_tables(include_full_data=False))
_NAMES = re.compile(rf"-?\d{{8}}T\d{{6}}Z-[0-9a-f]{{8}}|{_TABLES}|-?[0-9a-f]{{8,}}|-?\d{{6,}}|\ball\b|(?<=tried-)\w+")


def run_and_measure(settings: Settings) -> tuple[float, list[str]]:
    """Run once to the end: seconds, and the kinds of renames in it.

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


def run_and_kill_at_rename(settings: Settings, kind: str, *, before: bool) -> None:
    """Let a run kill itself right before or after its first rename of a kind."""
    process = _start(_killed_at_rename, settings, kind, before)
    process.join(_MAX_RUN_S)
    assert process.exitcode == -signal.SIGKILL, f"the run ended without a rename to {kind}"


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
    kinds: dict[str, None] = {}
    _watch_renames(settings.export_dir, lambda kind, _: kinds.setdefault(kind))
    started = time.monotonic()
    run_export(settings)
    sender.send((time.monotonic() - started, list(kinds)))


def _killed_at_rename(settings: Settings, kind: str, before: bool) -> None:  # noqa: FBT001  positional through a process
    def die(seen: str, before_it: bool) -> None:  # noqa: FBT001
        if (seen, before_it) == (kind, before):
            os.kill(os.getpid(), signal.SIGKILL)

    _watch_renames(settings.export_dir, die)
    run_export(settings)


def _watch_renames(export_dir: Path, hook: Callable[[str, bool], object]) -> None:
    """Call a hook before (True) and after (False) each os.replace, os.rename and os.symlink, with its kind."""

    def wrap(original: Callable[..., None]) -> Callable[..., None]:
        def renaming(*arguments: Any, **options: Any) -> None:
            kind = _NAMES.sub("*", os.path.relpath(os.fspath(arguments[1]), export_dir))
            hook(kind, True)
            original(*arguments, **options)
            hook(kind, False)

        return renaming

    for name in _RENAMES:
        setattr(os, name, wrap(getattr(os, name)))
