"""Processes that hold locks, and a library that makes flock do nothing, as some file systems and containers do."""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.publish.kit import ROOT

# What flock is on file systems that accept it and do nothing: always a success.
_NO_FLOCK = "int flock(int descriptor, int operation) { (void)descriptor; (void)operation; return 0; }\n"
HOLDER = """
import sys
from pathlib import Path
from pipelines.system.run_lock import hold_run_lock
with hold_run_lock(Path(sys.argv[1]), wait_seconds=20) as lock:
    for folder in sys.argv[2:]:
        lock.claim(Path(folder))
    print("held", flush=True)
    sys.stdin.readline()
"""


def library_without_flock(folder: Path) -> Path:
    """Compile the library; LD_PRELOAD loads it before the C library."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs Linux and a C compiler (apt-get install gcc)")
    source, library = folder / "noflock.c", folder / "noflock.so"
    source.write_text(_NO_FLOCK, encoding="ascii")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    return library


@contextmanager
def held_by_another_process(export_dir: Path, *folders: Path, **environment: str) -> Iterator["subprocess.Popen[str]"]:
    """Another process holds the lock of a run, with claims to folders, until a line is sent to it or it is killed."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, export_dir, *folders],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={"PATH": "/usr/bin", "PYTHONPATH": str(ROOT), **environment},
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()
