"""Ports for servers of tests, and a small server of HTTP."""

import itertools
import os
import secrets
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

_FIRST = 20_000
_LINUX_BEGINS_AT = 32_768


def free_port(host: str = "127.0.0.1") -> int:
    """A port of a loopback address, for a server that is started later.

    Not one that the system chooses: it may give the same to the next connection of another test, before the server
    listens. Where it chooses from nearly all ports there are no others.
    """
    for port in _own_ports() or itertools.repeat(0):
        with socket.socket() as probe, suppress(OSError):
            probe.bind((host, port))
            return int(probe.getsockname()[1])
    raise AssertionError


@cache
def _own_ports() -> Iterator[int] | None:
    """Ports that the system gives to nobody by itself; each process of this run has others."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    ports = range(_FIRST + worker, _begin_of_system(), workers)
    if len(ports) < 1000:
        return None
    start = secrets.randbelow(len(ports))  # another run on this machine begins elsewhere
    return itertools.cycle((*ports[start:], *ports[:start]))


def _begin_of_system() -> int:
    try:
        return int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text(encoding="ascii").split()[0])
    except OSError:
        return _LINUX_BEGINS_AT


@contextmanager
def answering(handler: type[BaseHTTPRequestHandler]) -> Iterator[int]:
    """Port of an HTTP server of this process, each request in a thread of its own; what it would log is not shown."""
    silent = type("Silent", (handler,), {"log_message": lambda *_: None})
    server = ThreadingHTTPServer(("127.0.0.1", 0), silent)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
