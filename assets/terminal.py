"""What a person sees in a terminal: live progress, the summary of a publication, errors.

Belongs here: words and layout. Does not: deciding or doing anything.
"""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from pipelines.contracts.records import CheckRecord, Manifest
from pipelines.errors import ExportError
from pipelines.progress import Progress as Message

_STAGES = {"wait": "Waiting", "read": "Reading PostgreSQL", "build": "Building tables", "publish": "Publishing"}


class ProgressView:
    """Shows the stages of a run while it runs: bars on a terminal, a line a stage elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[str, TaskID] = {}
        self._progress = Progress(
            TextColumn("{task.description:<20}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[what]}"),
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
        self._progress.stop()

    def show(self, message: Message) -> None:
        """Take one message of the run."""
        if message.stage not in self._tasks:
            self._tasks[message.stage] = self._progress.add_task(_STAGES[message.stage], total=None, what="")
            if not self._console.is_terminal:
                self._console.print(f"{_STAGES[message.stage]} ...")
        self._progress.update(
            self._tasks[message.stage],
            completed=message.done,
            total=message.total or None,
            what=message.what,
        )


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
        console.print(f"          {name}: {relation.rows:,} rows{left_out}", highlight=False)
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
            f"Rejected  {sum(rejects.values()):,} rows, with their reason in rejected_rows: {reasons}", highlight=False
        )
    else:
        console.print("Rejected  no row")
    for check in (check for record in manifest.tables for check in record.checks if not check.passed):
        console.print(f"[yellow]Warning[/yellow]   {check.table}.{check.name}: {escape(_why(check))}", highlight=False)
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
