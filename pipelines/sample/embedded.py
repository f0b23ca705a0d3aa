"""The embedded PostgreSQL as its users see it: one server per folder, shared by processes, filled with the sample.

In the folder: `pgdata` (the cluster) and three lock files that are never removed. `start.lock` is held while somebody
starts or stops the server, `users.lock` is shared by its users (the last one stops it), `server.lock` is the server's.
"""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from pipelines.errors import SampleError
from pipelines.sample.cluster import PORT, Cluster, server_url
from pipelines.sample.locks import FileLock

DATABASE = "lei_exports"

_LOCK_SECONDS = 120
# Linux holds 107 bytes of a socket's path, macOS 103.
_MAX_SOCKET_DIR = 103 - len(f"/.s.PGSQL.{PORT}")


@contextmanager
def embedded_server(data_dir: Path) -> Iterator[str]:
    """Run the embedded PostgreSQL while the block lasts.

    A server that another process started, or that a killed one left behind, is used as it is; the last user stops it.

    Args:
        data_dir: Folder that belongs to the server alone; created when missing. It keeps the data between runs.

    Yields:
        URL of its database, good for this machine while the block lasts. Needs no password.

    Raises:
        SampleError: The folder can't be used, or the server does not start.
    """
    root = _own_folder(data_dir)
    cluster = Cluster(root)
    starting, using = FileLock(root / "start.lock"), FileLock(root / "users.lock")
    with _short_name(cluster.data) as socket_dir:
        starting.take(_LOCK_SECONDS)
        try:
            using.try_take(shared=True)  # can't fail: the exclusive one is only taken under start.lock
            try:
                cluster.initialize()
                cluster.start(socket_dir)
                _ensure_database(socket_dir)
            finally:
                starting.close()
            yield server_url(socket_dir, DATABASE)
        finally:
            _leave(cluster, starting, using)


def _own_folder(data_dir: Path) -> Path:
    root = data_dir.expanduser().resolve()
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SampleError(
            f"{root} can't be created",
            expected="a folder for the embedded PostgreSQL",
            found=error.strerror or "",
            fix="make its parent writable, or set DATABASE_URL",
        ) from error
    return root


@contextmanager
def _short_name(data: Path) -> Iterator[Path]:
    """The cluster's folder, by a link in a folder of our own where its path is no fit name for a socket."""
    plain = str(data)
    if len(plain) <= _MAX_SOCKET_DIR and plain.isascii() and not set(plain) & set(" \t\n,%'\"\\@:?#[]"):
        yield data
        return
    folder = Path(tempfile.mkdtemp(prefix="lei-exports-"))
    try:
        link = folder / "pg"
        if len(str(link)) > _MAX_SOCKET_DIR:
            raise SampleError(
                f"No short name for {data}",
                expected=f"a temporary folder whose path has less than {_MAX_SOCKET_DIR - 20} characters",
                fix="set TMPDIR to a shorter path, such as /tmp",
            )
        link.symlink_to(data)
        yield link
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ensure_database(socket_dir: Path) -> None:
    try:
        with psycopg.connect(server_url(socket_dir, "postgres"), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,)).fetchone():
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.Error as error:
        raise SampleError(f"The database {DATABASE} can't be created", found=type(error).__name__) from error


def _leave(cluster: Cluster, starting: FileLock, using: FileLock) -> None:
    try:
        if cluster.data.exists():
            starting.take(_LOCK_SECONDS)
            using.close()
            if using.try_take():  # nobody else: ours was the last shared lock
                cluster.stop()
    finally:
        using.close()
        starting.close()
