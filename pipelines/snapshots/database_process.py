"""The process that writes exports.duckdb, seen from its parent: its start, its events, its errors in our words."""

import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

from pipelines.errors import PublishError
from pipelines.snapshots.database_task import Task
from pipelines.system.child_errors import describe_stderr
from pipelines.system.files import DISK_FULL_FIX
from pipelines.system.processes import command_of, environment_of

DEFAULT_MEMORY_MB = 256  # 200 to 250 MB are enough for 4.7 million candidates; the process then takes about 340 MB
_END_SECONDS = 10


@dataclass(frozen=True)
class WriterOptions:
    """How the writer's process runs.

    Attributes:
        memory_mb: Most memory that DuckDB takes, MB; beyond it spills to a hidden folder beside the file.
        on_table: Called with name and rows of each table that is complete.
        keep_open: File descriptors that the process inherits: a lock that it holds until it has ended too.
        on_stderr: Called with what it wrote to standard error, described without row content, where it succeeded.
    """

    memory_mb: int = DEFAULT_MEMORY_MB
    on_table: Callable[[str, int], None] = lambda _name, _rows: None
    keep_open: tuple[int, ...] = ()
    on_stderr: Callable[[str], None] = lambda _: None


def run_task(task: Task, options: WriterOptions) -> dict[str, int]:
    """Do a task in a process of its own; however this call ends, that process has ended too.

    Args:
        task: What to do.
        options: How the process runs.

    Returns:
        Rows by table name.

    Raises:
        PublishError: The task failed, with DuckDB's kind of error and the table.
        OSError: The process can't be started.
    """
    rows: dict[str, int] = {}
    failure: dict[str, Any] | None = {"kind": "", "table": "", "reason": "ended", "column": ""}
    with _worker(task, options.keep_open) as (process, errors):
        for event in _events(process):
            if event["event"] == "table":
                rows[event["table"]] = event["rows"]
                options.on_table(event["table"], event["rows"])
            else:
                failure = None if event["event"] == "done" else event
        process.wait(_END_SECONDS)
        said = describe_stderr(errors)
        if failure is not None:
            raise _explained(failure, process.returncode, said, task)
        if said:
            options.on_stderr(said)
    return rows


@contextmanager
def _worker(task: Task, keep_open: Sequence[int]) -> Iterator[tuple["subprocess.Popen[bytes]", IO[bytes]]]:
    """The running process and what it writes to stderr; however the block ends, the process has ended too."""
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # noqa: S603  a module of this package
            command_of("pipelines.snapshots.database_worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=environment_of(),
            pass_fds=tuple(keep_open),
        )
        try:
            if process.stdin is None:
                raise AssertionError  # stdin=PIPE
            with suppress(BrokenPipeError):  # it ended at once; its status and stderr say why
                process.stdin.write(task.to_json().encode() + b"\n")
                process.stdin.flush()
            yield process, errors
        finally:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()


def _events(process: "subprocess.Popen[bytes]") -> Iterator[dict[str, Any]]:
    if process.stdout is None:
        raise AssertionError  # stdout=PIPE
    for line in process.stdout:
        yield json.loads(line)


def _explained(failure: dict[str, Any], status: int | None, said: str, task: Task) -> PublishError:
    verb = "built" if task.most_changes is None else "updated"
    what = f"exports.duckdb could not be {verb}"
    if failure["table"]:
        what += f", at table {failure['table']}"
    reason, kind = failure["reason"], failure["kind"]
    if reason == "too_many_changes":
        return PublishError(what, found="more rows changed than a copy is worth", fix="run again with --full-refresh")
    if reason == "disk_full":
        return PublishError(what, found=f"no room on the disk (DuckDB {kind})", fix=DISK_FULL_FIX)
    if reason == "out_of_memory":
        return PublishError(
            what,
            expected=f"that {task.memory_mb} MB of memory and the room to spill beside the file are enough",
            found=f"DuckDB {kind}",
            fix=f"{DISK_FULL_FIX}; if there is room, a row is very large: set DATABASE_MEMORY_MB to six times its size",
        )
    if reason == "null":
        return PublishError(
            what,
            expected=f"no NULL in {failure['table']}.{failure['column']}",
            found=f"a NULL (DuckDB {kind})",
            fix="the rows break their contract: this is a defect of the transform, report it with the run's log",
        )
    if reason == "ended":
        killed = status is not None and status < 0
        found = f"its process was killed by signal {-(status or 0)}" if killed else f"its process ended with {status}"
        return PublishError(
            what,
            found=f"{found}{f' after {said}' if said else ''}",
            fix="look for the kernel's out-of-memory killer, then run again",
        )
    found = f"DuckDB {kind}{f'; its process said {said}' if said else ''}"
    return PublishError(what, found=found, fix="verify the staged Parquet files, then run again")
