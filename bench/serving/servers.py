"""The servers that are compared: what each needs installed, how it is started, what it does and does not."""

import os
import shutil
import subprocess
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import psutil
from psycopg.conninfo import conninfo_to_dict

from bench import session
from tests.ports import free_port

HERE = Path(__file__).resolve().parent
BUILD = session.BUILD / "serving"
OURS = "ours"
NODE, NODE_PARALLEL, ORM, STRING_AGG = "node", "node_parallel", "joinedload", "string_agg"
_START_SECONDS = 60
_STOP_SECONDS = 15
_NODE_FILES = ("package.json", "package-lock.json", "server.js")


@dataclass(frozen=True)
class Server:
    """A server that is compared.

    Attributes:
        title: Its name in the table.
        command: What starts it; `{port}` is filled in.
        folder: Where it is started.
        environment: Variables of its own.
        lacks: What it does not do of what others do.
    """

    name: str
    title: str
    command: tuple[str, ...]
    folder: Path
    environment: Mapping[str, str]
    lacks: str


def servers(url: str, export_dir: Path) -> list[Server]:
    """All of them, on one database; ours on its exports."""
    # Of libpq, which pg for Node knows too.
    database = {
        f"PG{name.upper()}": str(value)
        for name, value in conninfo_to_dict(url).items()
        if name in {"host", "port", "user", "password"} and value is not None
    } | {"PGDATABASE": str(conninfo_to_dict(url)["dbname"])}
    python = str(BUILD / "venv" / "bin" / "python")
    node = (shutil.which("node") or "node", "server.js")

    def fastapi(module: str) -> tuple[str, ...]:
        return (python, "-m", "uvicorn", f"{module}:app", "--port", "{port}", "--no-access-log", "--log-level", "error")

    peers = HERE / "peers"
    no_stream = "the whole batch is in memory"
    return [
        Server(
            NODE, "application's way: Express, a query per domain", node, BUILD / "node",
            {**database, "PARALLEL": "1", "NODE_ENV": "production"},
            f"{no_stream}; its queries see different instants of the database",
        ),
        Server(
            NODE_PARALLEL, "the same, ten queries at a time", node, BUILD / "node",
            {**database, "PARALLEL": "10", "NODE_ENV": "production"},
            "as before, and a batch takes all ten connections of the pool",
        ),
        Server(
            ORM, "FastAPI, SQLAlchemy joinedload", fastapi("orm"), peers, database,
            f"{no_stream}, as objects",
        ),
        Server(
            STRING_AGG, "FastAPI, string_agg", fastapi("string_agg"), peers, database,
            f"{no_stream}; of candidates it sends four joined texts, no scores and no positions",
        ),
        Server(
            OURS, "lei-exports serve",
            (session.LEI_EXPORTS, "serve", "--port", "{port}"), session.ROOT,
            {"EXPORT_DIR": str(export_dir), "API_MAX_EXPORTS": "8", "API_EXPORT_WAIT_SECONDS": "600"},
            "shows the last snapshot, not the rows of this moment; a batch that was sent before it sends from its disk",
        ),
    ]  # fmt: skip


def set_up() -> None:
    """Install what the peers need, pinned by the locks beside this module.

    Raises:
        RuntimeError: Something is missing on this machine.
    """
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise RuntimeError("The application's way needs node and npm 18 or newer on the PATH")
    session.python_of(HERE / "peers.lock", BUILD / "venv")
    node = BUILD / "node"
    node.mkdir(parents=True, exist_ok=True)
    is_new = not (node / "node_modules").is_dir() or any(
        not (node / name).is_file() or (node / name).read_bytes() != (HERE / "node" / name).read_bytes()
        for name in _NODE_FILES
    )
    if is_new:
        print("Installing the peers' packages (Node) ...", flush=True)
        for name in _NODE_FILES:
            shutil.copy(HERE / "node" / name, node / name)
        command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
        subprocess.run(command, cwd=node, check=True)


@contextmanager
def running(server: Server) -> Iterator[tuple[int, psutil.Process]]:
    """A server, started and answering; its port and its process.

    Raises:
        RuntimeError: It does not start; its output is in the message.
    """
    port = free_port()
    log = BUILD / f"{server.name}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [part.format(port=port) for part in server.command],
            cwd=server.folder,
            env={**os.environ, **server.environment, "PORT": str(port)},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + _START_SECONDS
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"{server.title} does not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.1)
        yield port, psutil.Process(process.pid)
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2):
            return True
    except (URLError, OSError):
        return False
