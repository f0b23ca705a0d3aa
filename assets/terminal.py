"""What a person sees in a terminal: live progress, the summary of a publication, errors.

Belongs here: words and layout. Does not: deciding or doing anything.
"""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table

from pipelines.contracts.records import CheckRecord, Manifest
from pipelines.errors import ExportError
from pipelines.progress import Progress as Message
from pipelines.progress import Stage

_STAGES: dict[Stage, str] = {
    "wait": "Waiting",
    "read": "Reading PostgreSQL",
    "build": "Building tables",
    "summarize": "Summarizing",
    "publish": "Publishing",
}
_LINE_SECONDS = 5.0
# A rate of less time than this is noise.
_RATE_SECONDS = 0.5


class ProgressView:
    """Shows the stages of a run: bars on a terminal; elsewhere a line when one begins and ends, and each 5 s."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[Stage, TaskID] = {}
        self._started: dict[Stage, float] = {}
        self._line, self._line_at = "", 0.0
        self._progress = Progress(
            # Millions of rows fit into 80 columns; what does not is cut at its end.
            TextColumn("{task.description:<18}", table_column=Column(no_wrap=True, min_width=18)),
            BarColumn(bar_width=8, table_column=Column(min_width=8)),
            TextColumn("{task.percentage:>3.0f} %", table_column=Column(no_wrap=True, min_width=5)),
            TextColumn("{task.fields[told]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        """Start to show."""
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the last state on the screen."""
        if error is None:
            self._end_stage()
        self._progress.stop()
        self._print_line()

    def show(self, message: Message) -> None:
        """Take one message of the run."""
        now = time.monotonic()
        is_new = message.stage not in self._tasks
        if is_new:
            self._end_stage()
            self._print_line()
            self._started[message.stage] = now
            self._tasks[message.stage] = self._progress.add_task(_STAGES[message.stage], total=None, told="")
        how_far = describe_progress(message, now - self._started[message.stage])
        self._progress.update(
            self._tasks[message.stage],
            completed=message.done,
            total=message.total or None,
            told=how_far or message.what,
        )
        self._line = f"{_STAGES[message.stage]}: {', '.join(part for part in (how_far, message.what) if part)}"
        if is_new or now - self._line_at >= _LINE_SECONDS:
            self._line_at = now
            self._print_line()

    def _print_line(self) -> None:
        """Print the last state, where it is not printed yet and there are no bars."""
        if self._line and not self._console.is_terminal:
            self._console.print(self._line, markup=False, highlight=False, soft_wrap=True)
        self._line = ""

    def _end_stage(self) -> None:
        """A stage that did not count what it does is over when the next one begins."""
        for task in self._progress.tasks:
            if task.total is None:
                self._progress.update(task.id, total=1, completed=1)


def describe_progress(message: Message, seconds: float) -> str:
    """How far a stage is, in words: what is done and how much there is, how much a second, the share.

    Args:
        message: The last one of the stage.
        seconds: Since the stage began.
    """
    if not message.done:
        return ""
    told = [
        f"{message.done:,} of {message.total:,} {message.unit}" if message.total else f"{message.done:,} {message.unit}"
    ]
    if message.unit == "rows" and seconds >= _RATE_SECONDS:
        told.append(f"{message.done / seconds:,.0f} rows/s")
    return ", ".join(told)


def show_publication(
    console: Console, manifest: Manifest, rejects: dict[str, int], folder: str, seconds: float
) -> None:
    """Say what was read, what was published and where, what was rejected, and how long it took."""
    console.print()
    source = manifest.source
    console.print(
        f"Source    [bold]{source.identity}[/bold], PostgreSQL {source.server_version}, as of "
        f"{source.snapshot_at:%Y-%m-%d %H:%M:%S} UTC",
        highlight=False,
    )
    for name, relation in source.relations.items():
        left_out = f"; left out: {escape(', '.join(relation.unknown))}" if relation.unknown else ""
        console.print(f"          {name}: {relation.rows:,} rows{left_out}", highlight=False, soft_wrap=True)
    table = Table(box=None, header_style="bold")
    table.add_column("Published")
    table.add_column("rows", justify="right")
    table.add_column("Parquet files", justify="right")
    table.add_column("bytes", justify="right")
    for record in manifest.tables:
        size = sum(file.bytes for file in record.files)
        table.add_row(record.name, f"{record.rows:,}", f"{len(record.files):,}", f"{size:,}")
    table.add_row("exports.duckdb", f"{manifest.database.rows:,}", "", f"{manifest.database.bytes:,}")
    console.print(table)
    if rejects:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in rejects.items())
        console.print(
            f"Rejected  {sum(rejects.values()):,} rows, with their reason in rejected_rows: {reasons}",
            highlight=False,
            soft_wrap=True,
        )
    else:
        console.print("Rejected  no row")
    checks = [*manifest.checks, *(check for record in manifest.tables for check in record.checks)]
    for check in (check for check in checks if not check.passed):
        console.print(
            f"[yellow]Warning[/yellow]   {check.table}.{check.name}: {escape(_why(check))}",
            highlight=False,
            soft_wrap=True,
        )
    console.print(
        f"Snapshot  [bold]{manifest.id}[/bold] (number {manifest.sequence}) in {seconds:.1f} s", highlight=False
    )
    console.print(f"Where     {folder}", highlight=False, soft_wrap=True)


def _why(check: CheckRecord) -> str:
    """What decided a check, in words: its counts and examples that are not empty."""
    told = {name: value for name, value in check.metadata.items() if value not in ([], {}, None, "")}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())


def show_unchanged(console: Console, manifest: Manifest, folder: str, seconds: float) -> None:
    """Say that the source is as it was published, and what is published."""
    console.print()
    console.print(f"Nothing changed in {manifest.source.identity}; looked for it in {seconds:.1f} s", highlight=False)
    console.print(f"Snapshot  [bold]{manifest.id}[/bold] (number {manifest.sequence}) stays", highlight=False)
    console.print(f"Where     {folder}", highlight=False, soft_wrap=True)


def show_error(error: ExportError | str) -> None:
    """Print an error to standard error, its parts on lines of their own."""
    console = Console(stderr=True, highlight=False)
    if isinstance(error, str):
        console.print(f"[bold red]Error[/bold red]: {escape(error)}", soft_wrap=True)
        return
    console.print(f"[bold red]Error[/bold red]: {escape(error.what)}", soft_wrap=True)
    for label, text in (("expected", error.expected), ("found", error.found), ("way out", error.fix)):
        if text:
            console.print(f"  {label}: ", end="")
            console.print(text, markup=False, soft_wrap=True)
    sys.stderr.flush()
