"""The commands of `lei-exports`, their options and exit statuses: 0 done, 1 failed with a clear error, 2 wrong usage.

Dagster is imported only by the commands that run it: its import takes seconds.
"""

import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.system import runtime_tuning  # noqa: F401  first: it works before Polars is loaded only

# isort: split
from pipelines.system import lean_imports  # noqa: F401  then this: it works before the contracts are loaded only

# isort: split
from assets.cli.batch_command import write_batch_file
from assets.cli.console import name_new_folder, new_console, print_wrapped
from assets.cli.inspect_commands import diagnose_all, show_query, write_report
from assets.cli.interrupts import end_interrupted, interruptible
from assets.cli.output import dispensable_output, prepare_streams, required_output
from assets.cli.remote_commands import pull, push
from assets.cli.snapshot_commands import prune, roll_back, show_snapshots, verify, wait
from assets.cli.status_command import show_status
from assets.cli.terminal import show_error
from pipelines.contracts.version import CONTRACT_VERSION, library_versions
from pipelines.errors import ExportError, SettingsError
from pipelines.settings import load_settings
from pipelines.system.processes import command_of, environment_of, keep_interrupts
from pipelines.system.unexpected import as_unexpected

# Groups of commands in the help.
OPERATE, READ, SNAPSHOTS = "Operate", "Look and take along", "Snapshots"
_NEEDED_TO_SERVE = ("fastapi", "fastapi_swagger", "uvicorn")  # of the extra `serve`

app = typer.Typer(
    name="lei-exports",
    epilog="Begin with [bold]lei-exports doctor[/bold], then [bold]run[/bold], then [bold]status[/bold]. Settings are "
    "environment variables, such as DATABASE_URL and EXPORT_DIR: docs/settings.md. Exit status: 0 done, 1 failed "
    "with a clear error, 2 wrong usage, 130 interrupted.",
    rich_markup_mode="rich",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001  as typer calls it
    if is_wanted:
        version = library_versions()["lei-exports"]
        new_console().print(f"lei-exports {version}, contract {CONTRACT_VERSION}")
        raise typer.Exit


@app.callback()
def options(
    *,
    version: Annotated[
        bool,
        typer.Option("--version", is_eager=True, callback=_show_version, help="Say the versions, of the contract too."),
    ] = False,
) -> None:
    """Exports domains and their candidate legal entities from PostgreSQL to DuckDB and Parquet."""
    del version


sample_app = typer.Typer(help="The embedded PostgreSQL that is used while DATABASE_URL is unset.", no_args_is_help=True)


def run(
    *,
    accept_new_source: Annotated[
        bool, typer.Option("--accept-new-source", help="Publish although the source is not the published one.")
    ] = False,
    accept_shrink: Annotated[
        bool,
        typer.Option(
            "--accept-shrink",
            help="Publish although the source lost more rows than MIN_ROWS_PCT allows; let lost columns be.",
        ),
    ] = False,
    full_refresh: Annotated[bool, typer.Option("--full-refresh", help="Read everything, changed or not.")] = False,
) -> None:
    """Run the job `export`: read PostgreSQL, build every table, verify, publish."""
    started = time.monotonic()
    from assets.cli.launch import launch_export  # noqa: PLC0415  loads Dagster

    chosen = {"accept_new_source": accept_new_source, "accept_shrink": accept_shrink, "full_refresh": full_refresh}
    launch_export(load_settings(), started, chosen)


def ui(
    port: Annotated[int, typer.Option(help="Port on 127.0.0.1.", min=1, max=65535)] = 3000,
    *,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Nobody can start or change anything in it; schedules and sensors run.")
    ] = False,
) -> None:
    """Serve the Dagster UI on 127.0.0.1, with schedules and sensors running."""
    from assets.cli.launch import serve_ui  # noqa: PLC0415  loads Dagster

    serve_ui(load_settings(), port, read_only=read_only)


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any other than loopback needs EXPORT_API_TOKEN.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: any free one.", min=0, max=65535)] = 8000,
) -> None:
    """Serve batches, domains and legal entities from the published snapshot over HTTP, documentation at /docs."""
    missing = [name for name in _NEEDED_TO_SERVE if find_spec(name) is None]
    if missing:
        raise SettingsError(
            "The server is not installed", found=f"no module {missing[0]}", fix="install lei-exports[serve]"
        )
    # In the same process, again: what the command line has loaded would stay with the server as long as it runs.
    sys.stdout.flush()
    command = [*command_of("pipelines.serving"), host, str(port)]
    os.execve(command[0], command, environment_of())  # noqa: S606  a module of this package


@sample_app.command()
@interruptible
@dispensable_output()
def load(
    directory: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Folder with domains.csv and gleif_candidates.csv; the built-in sample when left out."
        ),
    ] = None,
) -> None:
    """Replace both tables of the embedded PostgreSQL with those of CSV files."""
    from pipelines.sample.csv_files import SAMPLE_DIR  # noqa: PLC0415
    from pipelines.sample.embedded import embedded_server  # noqa: PLC0415  starts nothing by itself
    from pipelines.sample.load import load_directory  # noqa: PLC0415

    settings = load_settings()
    name_new_folder(settings.embedded_dir)
    with embedded_server(settings.embedded_dir) as conninfo:
        rows = load_directory(conninfo, directory or SAMPLE_DIR)
    console = new_console()
    for table, count in rows.items():
        print_wrapped(console, f"{table}: {count:,} rows loaded")
    if settings.database_url is not None:
        print_wrapped(console, "DATABASE_URL is set: `lei-exports run` reads that database, not the embedded one.")


def add_command(
    name: str,
    function: Callable[..., None],
    group: str,
    *examples: str,
    context_settings: dict[str, Any] | None = None,
) -> None:
    """Make a function a command; its docstring is the help, with examples under it: command lines to copy."""
    shown = "\n\n".join(f"Example: {example}" for example in examples)
    app.command(name, epilog=shown, rich_help_panel=group, context_settings=context_settings)(interruptible(function))


add_command("doctor", diagnose_all, OPERATE, "lei-exports doctor", "lei-exports doctor --test-alert")
add_command("run", run, OPERATE, "DATABASE_URL=postgresql://reader@db.example/app lei-exports run")
add_command("ui", ui, OPERATE, "lei-exports ui --port 3001", "lei-exports ui --read-only")
add_command("status", show_status, READ, "lei-exports status --check || echo 'look at the export'")
add_command("query", show_query, READ, 'lei-exports query "SELECT batch_id, success_pct FROM batch_summaries"')
add_command("report", write_report, READ, "lei-exports report --out report.html")
add_command(
    "batch",
    write_batch_file,
    READ,
    "lei-exports batch kP3xWq9TzYbN_4mLs7Rd --format xlsx",
    # A batch id may begin with `-`: what is no option of the command is taken for the id.
    context_settings={"ignore_unknown_options": True},
)
add_command("serve", serve, READ, "lei-exports serve --port 8001")
add_command("snapshots", show_snapshots, SNAPSHOTS, "lei-exports snapshots --json")
add_command("verify", verify, SNAPSHOTS, "lei-exports verify 41", "lei-exports verify --remote")
add_command("rollback", roll_back, SNAPSHOTS, "lei-exports rollback 41", "lei-exports rollback --release")
add_command("prune", prune, SNAPSHOTS, "lei-exports prune --dry-run")
add_command("wait", wait, SNAPSHOTS, "lei-exports wait --after 41 --timeout 600")
add_command("push", push, SNAPSHOTS, "lei-exports push", "lei-exports push --check-all")
add_command("pull", pull, SNAPSHOTS, "lei-exports pull --from s3://bucket/prefix")
app.add_typer(sample_app, name="sample", rich_help_panel=OPERATE)


def _show_usage(error: typer.TyperException) -> None:
    """Say what is wrong with a command line; where no command was given, typer has shown the help."""
    what, context = error.format_message(), getattr(error, "ctx", None)
    if not what:
        return
    usage = context.get_usage().removeprefix("Usage: ") if context else ""
    fix = f"see `{context.command_path} --help`" if context else ""
    show_error(ExportError(what.rstrip("."), expected=usage, fix=fix))


def main() -> None:
    """Run the console script; a failure is one clear message and exit status 1."""
    prepare_streams()
    try:
        with keep_interrupts(KeyboardInterrupt), required_output():
            status = app(standalone_mode=False)
        sys.exit(status or 0)
    except typer.TyperException as error:  # wrong usage
        _show_usage(error)
        sys.exit(error.exit_code)
    except ExportError as error:
        show_error(error)
        sys.exit(1)
    except KeyboardInterrupt:  # the command `run` says itself what became of what is published
        end_interrupted()
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001  a panic of Rust is no Exception; a traceback may hold row content
        show_error(as_unexpected(error))
        sys.exit(1)
