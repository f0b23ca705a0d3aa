"""The commands that change nothing: `query`, `report`, `doctor`; `status` has a module of its own."""

import json
import sys
import webbrowser
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import polars as pl
import polars.selectors as cs
import typer
from rich.table import Table

from assets.cli.console import ascii_controls, cell, name_new_folder, new_console, print_wrapped, styled
from assets.cli.snapshot_commands import snapshot_before
from pipelines.checks.findings import Finding, failed
from pipelines.errors import ReportError, SettingsError
from pipelines.query.bounded import run_query
from pipelines.settings import Settings, load_settings
from pipelines.snapshots.opening import published_snapshot
from pipelines.system.printable import printable

_MAX_ROWS = 1000
# More columns than this do not fit next to each other.
_WIDE = 8
_COLOURS = {"ok": "green", "warning": "yellow", "failed": "red"}
_VERDICT_WIDTH = 7
_TOPIC_WIDTH = 22


def show_query(
    sql: Annotated[str, typer.Argument(help="SQL of DuckDB on the published tables and views.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per row.")] = False,
    as_csv: Annotated[
        bool, typer.Option("--csv", help="As CSV with a header; values are exact, lists are JSON.")
    ] = False,
    max_rows: Annotated[int, typer.Option("--rows", min=1, help="Rows to show at most.")] = _MAX_ROWS,
) -> None:
    """Run SQL on the published snapshot, read-only."""
    if as_json and as_csv:
        raise typer.BadParameter("give --json or --csv, not both")
    frame = run_query(published_snapshot(load_settings().export_dir), sql, max_rows)
    if as_json:
        typer.echo(ascii_controls(frame.write_ndjson()), nl=False)
    elif as_csv:
        content = _as_texts(frame).write_csv()
        typer.echo(printable(content, keep="\n") if sys.stdout.isatty() else content, nl=False)
    else:
        _show_rows(_as_texts(frame))
    if frame.height == max_rows:
        new_console(stderr=True).print(f"Only the first {max_rows} rows are shown; --rows shows more.")


def _as_texts(frame: pl.DataFrame) -> pl.DataFrame:
    """Times as text, because Python knows no year before 1; lists and structs as JSON."""
    nested = frame.select(cs.nested())
    # Not splitlines: texts in JSON may hold U+2028 and other ends of lines.
    lines = nested.write_ndjson().rstrip("\n").split("\n") if nested.width and nested.height else []
    rows = [json.loads(line) for line in lines]
    texts = [
        pl.Series(name, [None if row[name] is None else json.dumps(row[name], ensure_ascii=False) for row in rows])
        for name in nested.columns
    ]
    return frame.with_columns(*texts).with_columns(cs.temporal().cast(pl.String))


def _show_rows(frame: pl.DataFrame) -> None:
    """Show rows in a table; those of many columns one below the other."""
    rows, console = frame.iter_rows(), new_console()
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


def write_report(
    out: Annotated[Path, typer.Option(help="HTML file to write; `-` is standard output.")] = Path("report.html"),
    *,
    is_opened: Annotated[bool, typer.Option("--open", help="Open it in the browser.")] = False,
) -> None:
    """Draw the published snapshot: one HTML file with charts and their figures, for a browser without a network."""
    if is_opened and str(out) == "-":
        raise typer.BadParameter("--open needs a file, not standard output")
    from pipelines.build.reporting import batches_of, changed_files, earlier_manifests  # noqa: PLC0415
    from pipelines.report.rendering import render_report  # noqa: PLC0415  loads a drawing engine of 84 MB

    settings = load_settings()
    snapshot = published_snapshot(settings.export_dir)
    previous = snapshot_before(settings.export_dir, snapshot)
    content = render_report(
        {name: snapshot.scan(name) for name in snapshot.table_names},
        snapshot.manifest,
        earlier_manifests(snapshot, settings.keep_snapshots),
        None if previous is None else batches_of(previous),
        changed_files(snapshot, previous),
    )
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
    print_wrapped(console, f"Report of snapshot {snapshot.manifest.id}: {out}")
    address = out.resolve().as_uri()
    if is_opened and not webbrowser.open(address):
        print_wrapped(console, f"No browser was found here; open {address}")


def _record(names: Sequence[str], row: Sequence[object]) -> Table:
    """A row of many columns, a line for each."""
    grid = Table.grid(padding=(0, 2))
    for name, value in zip(names, row, strict=True):
        grid.add_row(styled((name, "bold")), cell(value))
    return grid


def diagnose_all(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, for a script.")] = False,
    test_alert: Annotated[
        bool, typer.Option("--test-alert", help="Post a test to ALERT_WEBHOOK_URL too; people will see it.")
    ] = False,
) -> None:
    """Look at settings, disk, connection, pooler, server, privileges and columns, and say how to fix what is wrong.

    Nothing is exported, and nothing is changed in PostgreSQL. Exit status 1 where a run would fail.
    """
    findings = _shown(_findings(test_alert=test_alert), as_json=as_json)
    if any(finding.verdict == "failed" for finding in findings):
        raise typer.Exit(1)


def _findings(*, test_alert: bool) -> Iterator[Finding]:
    from pipelines.build.diagnosis import diagnose  # noqa: PLC0415  loads all that a run needs

    try:
        settings = load_settings()
    except SettingsError as error:
        yield failed("settings", error)
        return
    name_new_folder(settings.export_dir, settings.dagster_home)
    yield from diagnose(settings)
    if test_alert:
        yield _post_test(settings)


def _post_test(settings: Settings) -> Finding:
    from pipelines.alerts.webhook import Alert, post_alert  # noqa: PLC0415  as above

    url = settings.alert_webhook_url
    if url is None:
        return Finding("test alert", "failed", "ALERT_WEBHOOK_URL is unset", "set it")
    said: list[str] = []
    reason = "this is a test of lei-exports doctor; nothing happened"
    if post_alert(url, Alert("test", datetime.now(UTC), reason), said.append):
        return Finding("test alert", "ok", "somebody took it")
    return Finding("test alert", "failed", " ".join(said), "check the webhook and the network between")


def _shown(findings: Iterable[Finding], *, as_json: bool) -> list[Finding]:
    """Show each finding as soon as it is there; as JSON all at the end."""
    console, seen = new_console(), []
    for finding in findings:
        seen.append(finding)
        if as_json:
            continue
        verdict = (f"{finding.verdict:<{_VERDICT_WIDTH}}", _COLOURS[finding.verdict])
        print_wrapped(console, finding.found, styled(verdict, f" {finding.topic:<{_TOPIC_WIDTH}} "))
        if finding.fix:
            print_wrapped(console, finding.fix, f"{'':<{_VERDICT_WIDTH}} {'':<{_TOPIC_WIDTH}} fix: ")
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in seen], indent=2))
    return seen
