"""The commands that only look at what is published: `status`, `query`, `report`.

Belongs here: their options, and what they say. Does not: changing anything.
"""

import json
import sys
import webbrowser
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import polars as pl
import polars.selectors as cs
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.errors import ReportError, SnapshotError
from pipelines.reading.adhoc import run_query
from pipelines.reading.history import read_hold
from pipelines.reading.snapshots import Snapshot, current_snapshot, list_snapshots
from pipelines.settings import load_settings

_MOST_ROWS = 1000
# More columns than this do not fit beside each other.
_WIDE = 8


def add_look_commands(app: typer.Typer) -> None:
    """Make the commands of this module part of the console script."""
    app.command("status")(show_status)
    app.command("query")(show_query)
    app.command("report")(write_report)


def show_status(*, as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a script.")] = False) -> None:
    """Say what is published, how old it is, when the source was last looked at, and what its checks warn of."""
    export_dir = load_settings().export_dir
    snapshot, hold = _current(export_dir), read_hold(export_dir)
    manifest = snapshot.manifest
    warnings = [
        f"{check.table}.{check.name}" for table in manifest.tables for check in table.checks if not check.passed
    ]
    status: dict[str, Any] = {
        "snapshot": manifest.id,
        "number": manifest.sequence,
        "source": manifest.source.identity,
        "as_of": manifest.source.snapshot_at.isoformat(),
        "age_s": round((datetime.now(UTC) - manifest.source.snapshot_at).total_seconds()),
        "last_checked": _last_checked(export_dir),
        "rows": {table.name: table.rows for table in manifest.tables},
        "read": "everything"
        if manifest.base_snapshot is None
        else f"{len(manifest.changed_segments)} changed segments",
        "warnings": warnings,
        "rolled_back": hold is not None,
        "folder": str(snapshot.folder),
    }
    if as_json:
        typer.echo(json.dumps(status, indent=2))
        return
    console = Console(highlight=False)
    grid = Table.grid(padding=(0, 2))
    for name, value in status.items():
        shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        shown = (", ".join(value) or "none") if isinstance(value, list) else shown
        grid.add_row(name.replace("_", " "), escape(str(shown)))
    console.print(grid)


def show_query(
    sql: Annotated[str, typer.Argument(help="SQL of DuckDB on the published tables and views.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row.")] = False,
    most_rows: Annotated[int, typer.Option("--rows", min=1, help="Rows to show at most.")] = _MOST_ROWS,
) -> None:
    """Run SQL on the published snapshot, read-only."""
    frame = run_query(_current(load_settings().export_dir), sql, most_rows)
    if as_json:
        typer.echo(frame.write_ndjson(), nl=False)
        return
    # As text: Python knows no year before 1.
    rows = frame.with_columns(cs.temporal().cast(pl.String)).iter_rows()
    console = Console(highlight=False)
    if frame.width > _WIDE:
        for row in rows:
            console.print(_record(frame.columns, row))
            console.print()
    else:
        table = Table(box=None, header_style="bold")
        for name in frame.columns:
            table.add_column(escape(name), overflow="fold")
        for row in rows:
            table.add_row(*map(_cell, row))
        console.print(table)
    if frame.height == most_rows:
        Console(stderr=True).print(f"Only the first {most_rows} rows are shown; --rows shows more.")


def write_report(
    out: Annotated[Path, typer.Option(help="HTML file to write; `-` is standard output.")] = Path("report.html"),
    *,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Draw the published snapshot: one HTML file with charts and their figures, for a browser without a network."""
    if is_opened and str(out) == "-":
        raise typer.BadParameter("--open needs a file, not standard output")
    from pipelines.report.rendering import render_report  # noqa: PLC0415  loads a drawing engine of 84 MB
    from pipelines.run.reporting import batches_of  # noqa: PLC0415

    export_dir = load_settings().export_dir
    snapshot = _current(export_dir)
    earlier = [s for s in list_snapshots(export_dir).snapshots if s.manifest.sequence < snapshot.manifest.sequence]
    previous, before = (earlier[-1].manifest, batches_of(earlier[-1])) if earlier else (None, None)
    tables = {name: snapshot.scan(name) for name in snapshot.table_names}
    content = render_report(tables, snapshot.manifest, previous, before)
    if str(out) == "-":
        sys.stdout.buffer.write(content)
        return
    try:
        out.write_bytes(content)
    except OSError as error:
        raise ReportError(
            f"{out} can't be written",
            found=type(error).__name__,
            fix="name a file in a folder that is there: --out FILE",
        ) from error
    console = Console(highlight=False)
    console.print(f"Report of snapshot {snapshot.manifest.id}: {escape(str(out))}", soft_wrap=True)
    address = out.resolve().as_uri()
    if is_opened and not webbrowser.open(address):
        console.print(f"No browser was found here; open {escape(address)}", soft_wrap=True)


def _record(names: Sequence[str], row: Sequence[object]) -> Table:
    """A row of many columns, a line for each."""
    grid = Table.grid(padding=(0, 2))
    for name, value in zip(names, row, strict=True):
        grid.add_row(f"[bold]{escape(name)}[/bold]", _cell(value))
    return grid


def _cell(value: object) -> str:
    return "" if value is None else escape(str(value))


def _current(export_dir: Path) -> Snapshot:
    snapshot = current_snapshot(export_dir)
    if snapshot is None:
        raise SnapshotError(
            "Nothing is published yet",
            expected=f"a snapshot in {export_dir}",
            found="none",
            fix="run `lei-exports run`, or set EXPORT_DIR to where one is",
        )
    return snapshot


def _last_checked(export_dir: Path) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads((export_dir / "last_checked.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return content
