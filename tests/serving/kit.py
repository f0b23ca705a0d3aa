"""A real server in a process of its own, and a client that keeps its connection."""

import http.client
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self
from urllib.parse import quote, urlencode

import psutil

from tests.forking import LEI_EXPORTS, clean_environment, start_command
from tests.ports import free_port

_SECONDS = 180


class Answer(NamedTuple):
    """What came back; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes


class Client:
    """One connection, kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request; `If_None_Match="x"` is a header."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._connection.request(method, path, headers=named)
        with self._connection.getresponse() as response:
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())


@dataclass(frozen=True)
class Served:
    """A running server."""

    port: int
    process: psutil.Process

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        """One request over a connection of its own."""
        with Client(self.port) as client:
            return client.ask(path, method, **headers)

    def open_files(self) -> set[str]:
        """Paths of what the server's processes have open, as the kernel sees it."""
        found: set[str] = set()
        for process in (self.process, *self.process.children(recursive=True)):
            for link in Path(f"/proc/{process.pid}/fd").iterdir():
                with suppress(FileNotFoundError):  # closed meanwhile
                    found.add(os.readlink(link))  # noqa: PTH115
        return found

    def memory(self) -> tuple[int, int]:
        """Bytes of the server's processes in memory: all, and those that are no program code or other mapped files."""
        found = [process.memory_info() for process in (self.process, *self.process.children(recursive=True))]
        return sum(one.rss for one in found), sum(one.rss - one.shared for one in found)


class Peak:
    """The server's memory while the body runs, looked at every 10 ms."""

    def __init__(self, server: Served) -> None:
        self.all_bytes = self.own_bytes = 0
        self._server = server
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(0.01):
            whole, own = self._server.memory()
            self.all_bytes, self.own_bytes = max(self.all_bytes, whole), max(self.own_bytes, own)


def export_path(batch_id: str, form: str = "json") -> str:
    """Path of a batch's file."""
    return f"/export/{quote(batch_id, safe='')}?format={form}"


def with_query(path: str, **parameters: str | int | bool) -> str:
    """A path with parameters."""
    return f"{path}?{urlencode({name: str(value) for name, value in parameters.items()})}"


@contextmanager
def served(export_dir: Path, **environment: str) -> Iterator[Served]:
    """The server that `lei-exports serve` starts, with nothing of this process's environment but the path."""
    port = free_port()
    with open(os.devnull, "r+b") as nothing:  # noqa: PTH123
        process = start_command(
            ["serve", "--port", str(port)],
            export_dir.parent,
            {"EXPORT_DIR": str(export_dir), **environment},
            [nothing.fileno()] * 3,
        )
    assert process.pid is not None
    server = Served(port, psutil.Process(process.pid))
    try:
        _wait(server, lambda: process.exitcode)
        yield server
    finally:
        process.terminate()
        process.join(120)
        assert process.exitcode is not None, "the server does not end"


@contextmanager
def served_by_program(export_dir: Path, **environment: str) -> Iterator[Served]:
    """The same in an interpreter of its own, for what measures memory: a fork has all that was imported before."""
    port = free_port()
    process = subprocess.Popen(
        [LEI_EXPORTS, "serve", "--port", str(port)],
        env=clean_environment(EXPORT_DIR=str(export_dir), **environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    server = Served(port, psutil.Process(process.pid))
    try:
        _wait(server, process.poll)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=120)


def _wait(server: Served, status: Callable[[], int | None]) -> None:
    until = time.monotonic() + _SECONDS
    while True:
        try:
            server.ask("/health")
        except OSError:
            assert status() is None, f"the server ended with status {status()}"
            assert time.monotonic() < until, "the server does not answer"
            time.sleep(0.02)
        else:
            return
