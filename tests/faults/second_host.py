"""Runs two exports at once, each in its process; the caller sets LD_PRELOAD.

Arguments: URL of the source, export folder, then a stage per round: the second run begins when the first is there
(`start`: both at once). Prints per round a line of JSON: what became of each run, and of the snapshot.
"""

import json
import multiprocessing
import sys
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from pipelines.errors import ExportError
from pipelines.export import run_export
from pipelines.progress import Progress
from pipelines.settings import Settings, load_settings
from pipelines.snapshots.opening import current_snapshot
from pipelines.snapshots.verification import check_snapshot, failed_checks

# Forked from a server that has everything imported and has started no thread.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(["tests.killing"])
_MAX_RUN_S = 180


def run(settings: Settings, pipe: Connection) -> None:
    """One run: the stages that it comes to, then what became of it."""

    def hear(progress: Progress) -> None:
        pipe.send(progress.stage)

    try:
        publication = run_export(settings, on_progress=hear, full_refresh=True)
    except ExportError as error:
        pipe.send([type(error).__name__, str(error)])
    else:
        pipe.send(["published", publication.manifest.id if publication else ""])


def start(settings: Settings) -> Connection:
    ours, theirs = _CONTEXT.Pipe(duplex=False)
    _CONTEXT.Process(target=run, args=(settings, theirs), daemon=True).start()
    return ours


def wait_for_stage(pipe: Connection, stage: str) -> Any:
    """The end of the run, where it came to that before the stage; else None."""
    while pipe.poll(_MAX_RUN_S):
        message = pipe.recv()
        if isinstance(message, list):
            return message
        if message == stage:
            return None
    raise TimeoutError


def damage(export_dir: Path) -> list[str]:
    """What is wrong with the published snapshot."""
    snapshot = current_snapshot(export_dir)
    if snapshot is None:
        return ["nothing is published"]
    wrong = [f"{check.table}.{check.name}" for check in failed_checks(check_snapshot(snapshot))]
    files = [path for path in snapshot.folder.rglob("*") if path.is_file()]
    wrong += [path.name for path in files if path.suffix == ".wal" or path.stat().st_mode & 0o777 != 0o444]
    return wrong


def main(url: str, export_dir: str, *stages: str) -> None:
    settings = load_settings(
        {"database_url": SecretStr(url), "export_dir": Path(export_dir), "segment_size": 100, "read_connections": 2}
    )
    for stage in stages:
        first = start(settings)
        done = None if stage == "start" else wait_for_stage(first, stage)
        second = start(settings)
        ends = [done or wait_for_stage(first, ""), wait_for_stage(second, "")]
        result = {"stage": stage, "runs": ends, "damage": damage(settings.export_dir)}
        sys.stdout.write(f"{json.dumps(result)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
