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
from rich.table import Table
from rich.text import Text

from assets.console import ascii_controls, cell, new_console, styled
from assets.help import LOOK, add_command
from assets.snapshot_commands import show_age
from pipelines.errors import ReportError, SnapshotError
from pipelines.publish.switch import current_id
from pipelines.reading.adhoc import run_query
from pipelines.reading.health import Health, judge_health
from pipelines.reading.snapshots import Snapshot, current_snapshot, list_snapshots
from pipelines.settings import load_settings

_MOST_ROWS = 1000
# More columns than this do not fit beside each other.
_WIDE = 8


def add_look_commands(app: typer.Typer) -> None:
    """Make the commands of this module part of the console script."""
    add_command(app, "status", show_status, LOOK, "lei-exports status --check || echo 'look at the export'")
    add_command(app, "query", show_query, LOOK, 'lei-exports query "SELECT batch_id, success_pct FROM batch_summaries"')
    add_command(app, "report", write_report, LOOK, "lei-exports report --out report.html")


def show_status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a script.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit status 1 where it is not healthy, for cron and monitoring.")
    ] = False,
) -> None:
    """Say what is published, how old it is, whether it is healthy, and what changed with it."""
    settings = load_settings()
    export_dir = settings.export_dir
    health = judge_health(export_dir, settings.stale_after_hours)
    if health.unreadable is not None:
        _show_unreadable(health, current_id(export_dir), as_json=as_json)
        raise typer.Exit(1)
    snapshot = _current(export_dir)
    manifest, look = snapshot.manifest, health.look
    status: dict[str, Any] = {
        "healthy": not health.problems,
        "problems": list(health.problems),
        "snapshot": manifest.id,
        "number": manifest.sequence,
        "source": manifest.source.identity,
        "as_of": manifest.source.snapshot_at.isoformat(),
        "age_s": round((datetime.now(UTC) - manifest.source.snapshot_at).total_seconds()),
        "last_checked": look.model_dump(mode="json") if look else {},
        "rows": {table.name: table.rows for table in manifest.tables},
        "changed": _changed(snapshot, _previous(export_dir, snapshot)),
        "read": "everything"
        if manifest.base_snapshot is None
        else f"{len(manifest.changed_segments)} changed segments",
        "warnings": list(health.warnings),
        "rolled_back": health.hold is not None,
        "folder": str(snapshot.folder),
    }
    if as_json:
        typer.echo(json.dumps(status, indent=2))
    else:
        _show_status(status)
    if check and health.problems:
        raise typer.Exit(1)


def _show_unreadable(health: Health, current: str | None, *, as_json: bool) -> None:
    """What is known where the published snapshot can't be read."""
    status = {
        "healthy": False,
        "problems": list(health.problems),
        "snapshot": current,
        "last_checked": health.look.model_dump(mode="json") if health.look else {},
        "rolled_back": health.hold is not None,
    }
    if as_json:
        typer.echo(json.dumps(status, indent=2))
        return
    console = new_console()
    console.print(styled((f"Snapshot {current} can't be read", "red")))
    for problem in health.problems:
        console.print(styled(problem), soft_wrap=True)


def _show_status(status: dict[str, Any]) -> None:
    console = new_console()
    colour = "green" if status["healthy"] else "red"
    changed = dict(status["changed"])
    since = changed.pop("since", None)
    shown: dict[str, Any] = {**status, "healthy": "yes" if status["healthy"] else "no"}
    shown["as_of"] = f"{status['as_of'][:19].replace('T', ' ')} UTC, {show_age(shown.pop('age_s'))} ago"
    counts = ", ".join(f"{name} {change}" for name, change in changed.items()) or "no number of rows"
    shown["changed"] = f"{counts}, since snapshot {since}" if since else "there is no snapshot before this one"
    grid = Table.grid(padding=(0, 2))
    for name, value in shown.items():
        text = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
        text = ", ".join(value) if isinstance(value, list) else text
        shown_value = styled((str(text) or "none", colour if name == "healthy" else ""))
        if name == "problems" and value:
            shown_value = Text("\n").join(map(styled, value))
        grid.add_row(name.replace("_", " "), shown_value)
    console.print(grid)


def _previous(export_dir: Path, snapshot: Snapshot) -> Snapshot | None:
    """The snapshot before this one."""
    earlier = [s for s in list_snapshots(export_dir).snapshots if s.manifest.sequence < snapshot.manifest.sequence]
    return earlier[-1] if earlier else None


def _changed(snapshot: Snapshot, previous: Snapshot | None) -> dict[str, str]:
    """Rows more or less than in the snapshot before, of each table where they differ."""
    if previous is None:
        return {}
    before = {table.name: table.rows for table in previous.manifest.tables}
    changes = {table.name: table.rows - before.get(table.name, 0) for table in snapshot.manifest.tables}
    return {"since": previous.manifest.id, **{name: f"{change:+,}" for name, change in changes.items() if change}}


def show_query(
    sql: Annotated[str, typer.Argument(help="SQL of DuckDB on the published tables and views.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row.")] = False,
    most_rows: Annotated[int, typer.Option("--rows", min=1, help="Rows to show at most.")] = _MOST_ROWS,
) -> None:
    """Run SQL on the published snapshot, read-only."""
    frame = run_query(_current(load_settings().export_dir), sql, most_rows)
    if as_json:
        typer.echo(ascii_controls(frame.write_ndjson()), nl=False)
        return
    # As text: Python knows no year before 1.
    rows = frame.with_columns(cs.temporal().cast(pl.String)).iter_rows()
    console = new_console()
    if frame.width > _WIDE:
        for row in rows:
            console.print(_record(frame.columns, row))
            console.print()
    else:
        table = Table(box=None, header_style="bold")
        for name in frame.columns:
            table.add_column(cell(name), overflow="fold")
        for row in rows:
            table.add_row(*map(cell, row))
        console.print(table)
    if frame.height == most_rows:
        new_console(stderr=True).print(f"Only the first {most_rows} rows are shown; --rows shows more.")


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
    earlier = _previous(export_dir, snapshot)
    previous, before = (None, None) if earlier is None else (earlier.manifest, batches_of(earlier))
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
    console = new_console()
    console.print(f"Report of snapshot {snapshot.manifest.id}: {out}", soft_wrap=True)
    address = out.resolve().as_uri()
    if is_opened and not webbrowser.open(address):
        console.print(f"No browser was found here; open {address}", soft_wrap=True)


def _record(names: Sequence[str], row: Sequence[object]) -> Table:
    """A row of many columns, a line for each."""
    grid = Table.grid(padding=(0, 2))
    for name, value in zip(names, row, strict=True):
        grid.add_row(styled((name, "bold")), cell(value))
    return grid


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
