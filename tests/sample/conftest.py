import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from pipelines.sample.embedded import embedded_server
from tests.oracle.prepared import once_per_run

REPO = Path(__file__).resolve().parents[2]


@pytest.fixture
def folder():
    """A folder with a short path (socket addresses), which pytest does not close to other accounts behind our back."""
    path = Path(tempfile.mkdtemp(prefix="lei-"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def _start_and_stop(folder):
    with embedded_server(folder):
        pass


def copy_used(target):
    """Make a folder in which the server ran before: a copy, for what is not about its first start."""
    subprocess.run(["cp", "-a", once_per_run("embedded", _start_and_stop), target], check=True)


@pytest.fixture
def used(folder):
    """A folder in which the server ran before."""
    copy_used(folder / "used")
    return folder / "used"


@pytest.fixture(scope="module")
def url():
    path = Path(tempfile.mkdtemp(prefix="lei-"))
    copy_used(path / "used")
    with embedded_server(path / "used") as address:
        yield address
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def run_python():
    """Start Python processes that print `ready` when they are where the test wants them; ends them afterwards."""
    started = []

    def start(code, *arguments):
        process = subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, stdin=subprocess.PIPE, cwd=REPO
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stdin.close()
