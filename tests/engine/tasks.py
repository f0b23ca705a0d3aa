"""What tasks of the tests do; the nodes find these functions by name."""

import os
import time
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from pipelines.errors import ExtractError
from tests.waiting import wait_until

_AT_MOST_S = 120


@dataclass(frozen=True)
class Job:
    """A task: its number, and a folder for what a test wants to see of it."""

    number: int
    folder: Path = Path()
    secret: SecretStr | None = None


def square(job: Job) -> int:
    return job.number**2


def run_until_released(job: Job) -> int:
    """Say that it runs (a file), until a file allows it to end; the largest number of tasks that ran with it."""
    mark = job.folder / f"running-{job.number}-{os.getpid()}"
    mark.touch()
    wait_until((job.folder / "release").exists, _AT_MOST_S)
    together = len(list(job.folder.glob("running-*")))
    mark.unlink()
    return together


def wait_but_first(job: Job) -> int:
    """The first task ends at once; the others wait for a file."""
    return run_until_released(job) if job.number else 0


def run_stubbornly(job: Job) -> int:
    """As a call into a library that hears neither a cancel nor a signal of Python: until a file allows it to end."""
    (job.folder / f"running-{job.number}-{os.getpid()}").touch()
    until = time.monotonic() + _AT_MOST_S
    while not (job.folder / "release").exists() and time.monotonic() < until:
        try:
            time.sleep(0.05)
        except KeyboardInterrupt:
            continue
    return job.number


def fail(job: Job) -> int:
    """Fail with an error of ours, with what it holds; the others wait for a file."""
    if job.number == 1:
        raise ExtractError("The read of domains failed", expected="rows", found="none", fix="start it again")
    return run_until_released(job)


def fail_unexpectedly(job: Job) -> int:
    """Fail as a library might, with a text that quotes what nobody may see."""
    msg = f"could not connect to {_shown(job)}"
    raise ValueError(msg)


def fail_with_panic(job: Job) -> int:
    """As a panic in Rust, which is none of Exception."""
    raise BaseException(_shown(job))  # noqa: TRY002


def _shown(job: Job) -> str:
    return job.secret.get_secret_value() if job.secret is not None else ""


def die(job: Job) -> int:
    """End the process, as a crash in a library does."""
    os._exit(1)


def describe_process(job: Job) -> dict[str, object]:
    import polars as pl  # noqa: PLC0415  as a task does, in a process that Ray has set up
    import pyarrow as pa  # noqa: PLC0415
    import ray  # noqa: PLC0415

    return {
        "polars": pl.thread_pool_size(),
        "arrow": pa.cpu_count(),
        "arrow_io": pa.io_thread_count(),
        "rayon": os.environ.get("RAYON_NUM_THREADS"),
        "node": ray.get_runtime_context().get_node_id(),
        "pid": os.getpid(),
    }


def probe_nothing() -> None:
    """A probe that finds PostgreSQL."""


def probe_refused() -> None:
    """A probe that does not."""
    raise ExtractError("No connection to PostgreSQL", found="connection refused")
