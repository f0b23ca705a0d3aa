"""docs/scale-out.md: its commands run as they stand there, in namespaces of their own.

`ray stop` ends every Ray on a machine, and the ports are the usual ones: so they see no process and no port of others.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.kit import ROOT, environment_of, make_checkout, steps

pytestmark = pytest.mark.extended

NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--net", "--mount-proc"]
AS_ROOT = [] if os.geteuid() == 0 else ["--map-root-user"]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Ray's sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="lei-ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder)


def test_a_cluster_by_hand(tmp_path: Path, short_folder: Path) -> None:
    begin = [*NAMESPACES, *AS_ROOT]
    allowed = subprocess.run([*begin, "ip", "link", "set", "lo", "up"], check=False, capture_output=True)
    if allowed.returncode:
        pytest.skip("no namespaces here: unshare or ip is refused")
    start, run, stop = (commands for commands, _ in steps(ROOT / "docs" / "scale-out.md"))
    parts = [
        "set -e",
        "ip link set lo up",
        start,
        "echo STARTED",
        run,
        "echo RUN",
        stop,
        "echo STOPPED",
        "ps -e -o args",
    ]
    done = subprocess.run(
        [*begin, "sh", "-c", "\n".join(parts)],
        cwd=make_checkout(tmp_path),
        env=environment_of(
            PATH=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}", RAY_TMPDIR=str(short_folder)
        ),
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    _, started = done.stdout.split("STARTED\n")
    ran, rest = started.split("RUN\n")
    assert "unique_domains" in ran
    assert re.search(r"read_range on \S+ \(\w{8}\)", ran), ran
    _, processes = rest.split("STOPPED\n")
    assert "raylet" not in processes
    assert "gcs_server" not in processes
