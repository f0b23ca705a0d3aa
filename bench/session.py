"""What all benchmarks share: the database they fill, the folder they write into, the measurements they collect."""

import json
import os
import shutil
import subprocess
import sys
import venv
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.measure import Measurement, measure, tree_cpu
from pipelines.sample.embedded import embedded_server

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
FLOOR = "floor"
LEI_EXPORTS = str(Path(sys.executable).with_name("lei-exports"))
RUN = [LEI_EXPORTS, "run"]


class Session:
    """One PostgreSQL, one folder of exports, and what was measured on them.

    Attributes:
        url: URL of the database.
        exports: Folder that our runs publish into.
        results: Measurements by what was measured.
    """

    def __init__(self, url: str, server_pid: int) -> None:
        self.url = url
        self.exports = BUILD / "exports"
        self.results: defaultdict[str, list[Measurement]] = defaultdict(list)
        self._server_pid = server_pid
        self._environment = {
            "DATABASE_URL": url,
            "EXPORT_DIR": str(self.exports),
            "DAGSTER_HOME": str(BUILD / "dagster_home"),
        }

    def measure(self, what: str, command: Sequence[str], environment: Mapping[str, str] | None = None) -> str:
        """Measure a command once, tell it, keep it; what the command printed."""
        result, said = measure(command, {**self._environment, **(environment or {})}, self._server_pid)
        self.keep(what, result)
        return said

    def measure_floor(self) -> None:
        """Measure F once."""
        self.measure(FLOOR, [sys.executable, "-m", "bench.floor", self.url])

    def manifest(self) -> dict[str, Any]:
        """What the published snapshot says of itself."""
        manifest: dict[str, Any] = json.loads((self.exports / "current" / "manifest.json").read_bytes())
        return manifest

    def server_cpu(self) -> float:
        """Processor time of PostgreSQL so far, seconds."""
        return tree_cpu(self._server_pid)

    def keep(self, what: str, result: Measurement) -> None:
        """Tell a measurement and keep it."""
        self.results[what].append(result)
        print(f"{what:<24} {result.seconds:9.1f} s {result.peak_bytes / 2**20:8.0f} MiB", flush=True)


@contextmanager
def open_session() -> Iterator[Session]:
    """A session on the benchmark's own PostgreSQL, which runs while the block lasts."""
    BUILD.mkdir(parents=True, exist_ok=True)
    folder = BUILD / "postgres"
    with embedded_server(folder) as url:
        pid = int((folder / "pgdata" / "postmaster.pid").read_text(encoding="utf-8").split()[0])
        yield Session(url, pid)


def python_of(lock: Path, folder: Path) -> str:
    """The interpreter of an environment, which is made from its lock when it is not there or the lock changed."""
    installed = folder / "installed.lock"
    python = folder / "bin" / "python"
    if not installed.is_file() or installed.read_bytes() != lock.read_bytes():
        print(f"Installing {lock.name} ...", flush=True)
        venv.create(folder, clear=True, with_pip=True)
        quiet = ["--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        subprocess.run([python, "-m", "pip", "install", *quiet, "-r", lock], check=True)
        shutil.copyfile(lock, installed)
    return str(python)


def describe(rows: int, candidates: int, order: str, rounds: int) -> str:
    """Under what circumstances figures were measured."""
    return (
        f"{rows:,} domains, {candidates:,} candidates in {order} order; PostgreSQL and the tool on one machine of"
        f" {os.cpu_count()} cores; median of {rounds}; {datetime.now(UTC):%F}."
    )
