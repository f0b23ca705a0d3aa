"""What a person sees in a terminal: live progress, the summary of a publication, errors.

Belongs here: words and layout. Does not: deciding or doing anything.
"""

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column, Table
from rich.text import Text

from assets.console import new_console, styled
from pipelines.contracts.records import CheckRecord, Manifest
from pipelines.errors import ExportError
from pipelines.printable import printable
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
        how_far, what = describe_progress(message, now - self._started[message.stage]), printable(message.what)
        self._progress.update(
            self._tasks[message.stage],
            completed=message.done,
            total=message.total or None,
            told=how_far or what,
        )
        self._line = f"{_STAGES[message.stage]}: {', '.join(part for part in (how_far, what) if part)}"
        if is_new or now - self._line_at >= _LINE_SECONDS:
            self._line_at = now
            self._print_line()

    def _print_line(self) -> None:
        """Print the last state, where it is not printed yet and there are no bars."""
        if self._line and not self._console.is_terminal:
            self._console.print(self._line, markup=False, highlight=False, emoji=False, soft_wrap=True)
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
    version = f", PostgreSQL {source.server_version}, as of {source.snapshot_at:%Y-%m-%d %H:%M:%S} UTC"
    console.print(styled("Source    ", (source.identity, "bold"), version))
    for name, relation in source.relations.items():
        left_out = f"; left out: {', '.join(relation.unknown)}" if relation.unknown else ""
        console.print(f"          {name}: {relation.rows:,} rows{left_out}", soft_wrap=True)
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
            f"Rejected  {sum(rejects.values()):,} rows, with their reason in rejected_rows: {reasons}", soft_wrap=True
        )
    else:
        console.print("Rejected  no row")
    _show_warnings(console, manifest)
    console.print(styled("Snapshot  ", (manifest.id, "bold"), f" (number {manifest.sequence}) in {seconds:.1f} s"))
    console.print(f"Where     {folder}", soft_wrap=True)


def _show_warnings(console: Console, manifest: Manifest) -> None:
    checks = [*manifest.checks, *(check for record in manifest.tables for check in record.checks)]
    for check in (check for check in checks if not check.passed):
        what = f"   {check.table}.{check.name}: {_why(check)}"
        console.print(styled(("Warning", "yellow"), what), soft_wrap=True)


def _why(check: CheckRecord) -> str:
    """What decided a check, in words: its counts and examples that are not empty."""
    told = {name: value for name, value in check.metadata.items() if value not in ([], {}, None, "")}
    return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in told.items())


def show_unchanged(console: Console, manifest: Manifest, folder: str, seconds: float) -> None:
    """Say that the source is as it was published, what is published, and of what its checks still warn."""
    console.print()
    console.print(f"Nothing changed in {manifest.source.identity}; looked for it in {seconds:.1f} s")
    _show_warnings(console, manifest)
    console.print(styled("Snapshot  ", (manifest.id, "bold"), f" (number {manifest.sequence}) stays"))
    console.print(f"Where     {folder}", soft_wrap=True)


def show_error(error: ExportError | str) -> None:
    """Print an error to standard error, its parts on lines of their own."""
    console = new_console(stderr=True)
    what = error if isinstance(error, str) else error.what
    console.print(styled(("Error", "bold red"), ": ") + _lines(what), soft_wrap=True)
    if not isinstance(error, str):
        for label, text in (("expected", error.expected), ("found", error.found), ("way out", error.fix)):
            if text:
                console.print(styled(f"  {label}: ") + _lines(text), soft_wrap=True)
    sys.stderr.flush()


def _lines(text: str) -> Text:
    """Lines after the first one stand to the right, so that none of them looks like a part of ours."""
    return Text("\n    ").join(map(styled, text.split("\n")))
