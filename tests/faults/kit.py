"""What these tests break: servers that stop, a wire that is cut or falls silent, a command that is killed."""

import contextlib
import os
import pty
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.forking import LEI_EXPORTS, clean_environment
from tests.oracle.postgres import Database
from tests.relay import Relay

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))


def debian_programs() -> Path:
    """Folder of Debian's PostgreSQL, which has TLS; the embedded build has none."""
    if not DEBIAN or not (DEBIAN[-1] / "initdb").exists():
        pytest.skip("needs Debian's postgresql (apt-get install postgresql): the embedded build has no TLS")
    return DEBIAN[-1]


def need(program: str) -> str:
    """Path of a program of the system."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"needs the program {program} (apt-get install {program})")
    return found


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A folder that is a disk of its own, of a size as mount takes it."""
    folder.mkdir(exist_ok=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, free: int) -> None:
    """Leave so many bytes."""
    stat = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(0, stat.f_bavail * stat.f_frsize - free)))


class Wire(Relay):
    """Can be cut, or fall silent, for what comes from the server.

    Silent means: connections stay open, new ones are taken, the kernel acknowledges, and no byte is passed on.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._silent = threading.Event()
        self._cut_after: int | None = None
        self._passed = 0
        super().__init__()

    def fall_silent(self) -> None:
        self._silent.set()

    def cut_after(self, count: int) -> None:
        """Cut everything once, when so many more bytes have come from the server."""
        self._passed, self._cut_after = 0, count

    def _connect(self, _: socket.socket) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._to))

    def _pass_on(self, data: bytes, client: socket.socket) -> None:
        if self._silent.is_set():
            return
        if self._cut_after is not None:
            self._passed += len(data)
            if self._passed > self._cut_after:
                client.sendall(data[: len(data) // 2])
                self._cut_after = None
                self.cut()
                return
        client.sendall(data)


class Operator:
    """Runs `lei-exports` as a person does, in a folder of its own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.export_dir = folder / "exports"
        self.home = folder / "dagster_home"
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(
        self, *arguments: str, stdout: int = subprocess.PIPE, stderr: int = subprocess.PIPE, **environment: str
    ) -> subprocess.Popen[str]:
        """Start the command with nothing of this shell's environment but PATH and HOME."""
        self._process = subprocess.Popen(
            [LEI_EXPORTS, *arguments],
            cwd=self._folder,
            env={**self._environment(), **environment},
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        return self._process

    def start_in_terminal(self, *arguments: str) -> tuple[subprocess.Popen[str], int]:
        """Start it in a terminal of its own, and the other end of that: what is written there is typed."""
        ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            [LEI_EXPORTS, *arguments],
            cwd=self._folder,
            env={**self._environment(), "TERM": "xterm", "COLUMNS": "200"},
            preexec_fn=lambda: os.login_tty(theirs),  # noqa: PLW1509  nothing else makes it its terminal
            pass_fds=[theirs],
            text=True,
        )
        os.close(theirs)
        return self._process, ours

    def _environment(self) -> dict[str, str]:
        places = {"EXPORT_DIR": str(self.export_dir), "DAGSTER_HOME": str(self.home)}
        return clean_environment(DATABASE_URL=self.database.url, **places)

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
