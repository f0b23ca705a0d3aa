"""The summary of a run for a person: what was read, published, rejected and warned of, and what to do next."""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from assets.cli.console import print_wrapped, styled
from pipelines.checks.results import CheckWarning, checks_of, explain_warnings
from pipelines.contracts.records import Manifest, SourceRecord
from pipelines.report.texts import format_seconds
from pipelines.sample.csv_files import is_built_in_sample

_NAME = "lei-exports"
_LABEL = 10
REJECTS_QUERY = "SELECT source_table, source_id, reason, detail FROM rejected_rows"
_NEXT = {
    "report --open": "charts of it, in the browser",
    "ui": "runs and checks, in the browser",
    "status": "whether it is healthy",
}


def show_publication(
    console: Console, manifest: Manifest, rejects: Mapping[str, int], folder: str, seconds: float
) -> None:
    """Say what was read, what was published and where, what was rejected, what warns, and how long it took.

    Args:
        rejects: Rejected rows by reason.
        seconds: Since the command began.
    """
    console.print()
    show_source(console, manifest.source)
    for name, relation in manifest.source.relations.items():
        left_out = f"; left out: {', '.join(relation.unknown)}" if relation.unknown else ""
        show_fact(console, "", f"{name}: {relation.rows:,} rows{left_out}")
    show_checks(console, manifest)
    _show_rejects(console, rejects)
    # Last what counts most: it stays in sight, however many checks warn.
    console.print(_tables(manifest))
    show_fact(console, "Snapshot", f"{manifest.id} (sequence {manifest.sequence})")
    work = format_seconds(manifest.work_s)
    show_fact(console, "Took", f"{work} to read, build and verify; {format_seconds(seconds)} with Dagster's start")
    show_fact(console, "Where", folder)
    show_next(console)


def show_unchanged(console: Console, manifest: Manifest, folder: str, seconds: float) -> None:
    """Say that the source is as it was published, what is published, and of what its checks still warn."""
    console.print()
    show_source(console, manifest.source)
    found = f"{format_seconds(seconds)} to find that, with Dagster's start"
    show_fact(console, "Unchanged", f"Nothing changed there since; {found}")
    show_checks(console, manifest)
    show_fact(console, "Snapshot", f"{manifest.id} (sequence {manifest.sequence}) stays")
    show_fact(console, "Where", folder)
    show_next(console)


def show_fact(console: Console, label: str, text: str, style: str = "") -> None:
    """Print a text in the column behind its label."""
    print_wrapped(console, text, styled((f"{label:<{_LABEL}}", style)))


def show_source(console: Console, source: SourceRecord) -> None:
    """Say which database was read, and of which instant the rows are."""
    instant = f"{source.snapshot_at:%Y-%m-%d %H:%M:%S} UTC"
    show_fact(console, "Source", f"{source.description}, PostgreSQL {source.server_version}, as of {instant}")
    if is_built_in_sample(source):
        show_fact(console, "", "The built-in sample has faults on purpose, to show rejects and warnings.")


def show_checks(console: Console, manifest: Manifest) -> None:
    """Say how many checks passed, and of the others what does not hold, and how to see the rows."""
    show_fact(console, "Checks", count_checks(manifest))
    for warned in explain_warnings(manifest):
        show_fact(console, "Warning", warned.sentence, "yellow")
        if warned.query:
            show_query_command(console, warned.query)


def count_checks(manifest: Manifest) -> str:
    """How many checks passed, in words."""
    checks, warned = checks_of(manifest), explain_warnings(manifest)
    warn = f", {len(warned)} warn; their rows are published" if warned else ""
    return f"{len(checks) - len(warned):,} of {len(checks):,} passed{warn}"


def name_warnings(warned: Sequence[CheckWarning]) -> list[str]:
    """Names of checks that warn, with the number of rows."""
    return [
        each.name if each.rows is None else f"{each.name} ({each.rows:,} row{'' if each.rows == 1 else 's'})"
        for each in warned
    ]


def own_command() -> str:
    """What a person types to start this console script again: its name where the shell finds it, else its path."""
    started = sys.argv[0]
    found = shutil.which(_NAME)
    if Path(started).name != _NAME or (found and os.path.realpath(found) == os.path.realpath(started)):
        return _NAME
    return shlex.quote(started)


def show_query_command(console: Console, query: str) -> None:
    """Print the command that shows the rows of a query, to be pasted into a shell."""
    show_fact(console, "", f'{own_command()} query "{query}"')


def show_next(console: Console) -> None:
    """Say what a person may want to do next."""
    width = max(map(len, _NEXT))
    for number, (arguments, what) in enumerate(_NEXT.items()):
        show_fact(console, "" if number else "Next", f"{own_command()} {arguments:<{width}}  {what}")


def _show_rejects(console: Console, rejects: Mapping[str, int]) -> None:
    if not rejects:
        show_fact(console, "Rejected", "no row")
        return
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in rejects.items())
    show_fact(console, "Rejected", f"{sum(rejects.values()):,} rows, in the table rejected_rows: {reasons}")
    show_query_command(console, REJECTS_QUERY)


def _tables(manifest: Manifest) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("Published")
    for title in ("rows", "Parquet files", "bytes"):
        table.add_column(title, justify="right")
    for record in manifest.tables:
        size = sum(file.bytes for file in record.files)
        table.add_row(record.name, f"{record.rows:,}", f"{len(record.files):,}", f"{size:,}")
    table.add_row("exports.duckdb", f"{manifest.database.rows:,}", "", f"{manifest.database.bytes:,}")
    return table
