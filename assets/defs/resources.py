"""What assets get from outside: the settings, and where progress goes."""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import dagster as dg
from pydantic import Field

from assets.defs.running import show
from pipelines.errors import ExportError, ExtractError, SourceError
from pipelines.export import Run, hold_run
from pipelines.progress import OnProgress, Progress, ignore_progress
from pipelines.settings import Settings, load_settings
from pipelines.system.printable import printable
from pipelines.system.processes import keep_interrupts
from pipelines.system.unexpected import as_unexpected

# Dagster's concurrency pool of every step that works on the export folder: with a limit of 1 (docs/deploy/dagster.yaml)
# a second run waits in the queue. Without one it waits inside its first step (RunLockHolder).
EXPORT_FOLDER = "export_folder"
# What came of a run, in words.
RESULT_TAG = "lei_exports/result"
# A run tells its story in about twenty lines, however long it takes; the terminal shows each message.
_LOG_SECONDS = 30.0
# 2, 4 and 8 s: longer than a restart of PostgreSQL takes.
_MAX_RETRIES, _FIRST_DELAY_S = 3, 2.0
# Signals, Dagster's own, and what a block within has said already.
_NOT_OURS_TO_CHANGE = (
    KeyboardInterrupt,
    SystemExit,
    GeneratorExit,
    dg.DagsterExecutionInterruptedError,
    dg.DagsterError,
    dg.Failure,
    dg.RetryRequested,
)
_listener: ContextVar[OnProgress] = ContextVar("listener", default=ignore_progress)
_errors: ContextVar[dict[str, ExportError] | None] = ContextVar("errors", default=None)


class ExportsResource(dg.ConfigurableResource[Any]):
    """The settings (docs/settings.md), read from the environment when a run starts."""

    overrides: dict[str, str] = Field(
        default_factory=dict,
        description="Settings by name in lower case, such as export_dir, that win over the environment in this run."
        " Not for secrets: Dagster shows them.",
    )

    def settings(self) -> Settings:
        """The settings of this run.

        Raises:
            Failure: A setting can't be used.
        """
        with failures():
            return load_settings(self.overrides)

    def setup_for_execution(self, context: dg.InitResourceContext) -> None:
        """Show that a run is going on, before its first step; a setting that can't be used is that step's to tell."""
        if context.run is not None and context.instance is not None:
            with suppress(ExportError):
                show(context.instance, context.run.run_id, load_settings(self.overrides).export_dir)
            if RESULT_TAG in context.run.tags:  # of the run that this one is a re-execution of
                context.instance.add_run_tags(context.run.run_id, {RESULT_TAG: "none yet"})


class RunLockHolder:
    """Holds the lock of an export folder from the first step of a Dagster run that needs it to the end of that run."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._run: Run | None = None

    def hold(self, settings: Settings, on_progress: OnProgress) -> Run:
        """The run. Its first step waits for the lock, not the start of the run: so what it says is a step's.

        Raises:
            BusyError: Another run still works on the export folder.
            SettingsError: The export folder can't be used.
        """
        if self._run is None:
            self._run = self._stack.enter_context(hold_run(settings, on_progress))
        return replace(self._run, settings=settings, on_progress=on_progress)


def tag_result(context: dg.AssetExecutionContext, result: str) -> None:
    """Say in a tag of the run what came of it, for the list of runs; what prevents that fails nothing."""
    with suppress(Exception):
        context.instance.add_run_tags(context.run_id, {RESULT_TAG: result})


@dg.resource(description="Nothing to configure: the lock of the export folder, held to the end of the run.")
def run_lock(_: dg.InitResourceContext) -> Iterator[RunLockHolder]:
    """Gives the lock back when the run ends, however it ends: Dagster closes resources after a failure too.

    With the in-process executor of this code location a run has one; with a process per step each step has its own.
    """
    with ExitStack() as stack:
        yield RunLockHolder(stack)


@contextmanager
def listening(listener: OnProgress) -> Iterator[dict[str, ExportError]]:
    """Let a terminal in the same process get the progress of the runs that it starts.

    Yields:
        The errors that their steps failed with, by the text that Dagster has of each.
    """
    errors: dict[str, ExportError] = {}
    token, errors_token = _listener.set(listener), _errors.set(errors)
    try:
        yield errors
    finally:
        _listener.reset(token)
        _errors.reset(errors_token)


def as_failure(error: ExportError) -> dg.Failure:
    """An error as Dagster's, to be raised; it is not tried again."""
    description, errors = printable(str(error)), _errors.get()
    if errors is not None:
        parts = {name: printable(getattr(error, name)) for name in ("expected", "found", "fix")}
        errors[description] = ExportError(printable(error.what), **parts)
    return dg.Failure(description=description, allow_retries=False)


def report_to(log: Callable[[str], None]) -> OnProgress:
    """Progress to the listener at once, and to the run's log at most every 30 s; the switch of `current` always."""
    listener = _listener.get()
    last = time.monotonic()

    def on_progress(progress: Progress) -> None:
        nonlocal last
        listener(progress)
        if time.monotonic() - last < _LOG_SECONDS and not progress.published:
            return
        last = time.monotonic()
        share = f", {progress.done:,} of {progress.total:,} {progress.unit}" if progress.total else ""
        log(printable(f"{progress.stage}: {progress.what}{share}"))

    return on_progress


@contextmanager
def failures(retry_number: int | None = None) -> Iterator[None]:
    """Turn errors into Dagster's: the message alone, and a retry only where a new try may succeed.

    Of an error that is not ours the message is its class, the system's reason and the place (system/unexpected.py).

    Not by a RetryPolicy: with one, Dagster tries a step again that an operator has just terminated.
    Whatever becomes of an interrupt in the block, it comes out as one.

    Args:
        retry_number: Of this try, from 0, in a step that may be tried again; None: it may not.
    """
    with keep_interrupts(dg.DagsterExecutionInterruptedError), _as_dagster_has_them(retry_number):
        yield


@contextmanager
def _as_dagster_has_them(retry_number: int | None) -> Iterator[None]:
    try:
        yield
    except ExportError as error:
        failure = as_failure(error)
        # A source that was there at the first try and is gone now may be restarting.
        again = isinstance(error, ExtractError) or (bool(retry_number) and isinstance(error, SourceError))
        if retry_number is None or retry_number >= _MAX_RETRIES or not again:
            raise failure from None
        delay_s = _FIRST_DELAY_S * 2**retry_number
        raise dg.RetryRequested(max_retries=_MAX_RETRIES, seconds_to_wait=delay_s) from failure
    except _NOT_OURS_TO_CHANGE:
        raise
    except BaseException as error:  # noqa: BLE001  a panic of Rust is no Exception
        # Without its cause: the text of an error may quote a row, and the event log keeps it.
        raise as_failure(as_unexpected(error)) from None
