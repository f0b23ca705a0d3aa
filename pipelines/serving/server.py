"""Runs the application: the socket, uvicorn, the log."""

import ctypes
import logging
import resource
from collections.abc import Callable

import uvicorn

from pipelines.serving.app import create_app
from pipelines.serving.connections import Connections, guarded
from pipelines.serving.listening import listen
from pipelines.serving.settings import ServingSettings
from pipelines.system.printable import printable

# Connections at a time, idle ones included; the fewest are for a system that allows only few open files.
_MAX_CONNECTIONS, _FEWEST_CONNECTIONS = 1_000, 64
# Descriptors for the files of snapshots, DuckDB and processes.
_OTHER_FILES = 200
# Batches that are being sent when the server is told to stop have so long to end.
_STOP_SECONDS = 10
# M_ARENA_MAX of glibc's malloc.h. By default a thread has one of its own: 4 MB more while a batch is sent.
_ARENA_MAX, _ARENAS = -8, 2


class _PrintableFormatter(logging.Formatter):
    """Log lines for a terminal: an error may hold names of the data."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


def serve(settings: ServingSettings, host: str, port: int, on_listening: Callable[[str], None]) -> None:
    """Serve until the process is told to stop.

    Args:
        settings: The server's settings.
        host: Address or name to listen at.
        port: Port; 0: any free one.
        on_listening: Hears the URL once connections are taken.

    Raises:
        SettingsError: The address can't be used, or can be reached from other machines and there is no token.
    """
    _share_arenas()
    files = _raise_file_limit(_MAX_CONNECTIONS + _OTHER_FILES)
    most = max(_FEWEST_CONNECTIONS, min(_MAX_CONNECTIONS, files - _OTHER_FILES))
    connections = Connections(
        most, settings.api_client_connections, settings.api_request_seconds, settings.api_stall_seconds
    )
    app = create_app(settings, host, connections)
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=guarded(connections),
        timeout_graceful_shutdown=_STOP_SECONDS,
        ws="none",
    )
    with listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        on_listening(f"http://{shown}:{listening.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listening])


def _raise_file_limit(wanted: int) -> int:
    """Allow this process so many open files, where the system lets it; how many it may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft


def _share_arenas() -> None:
    """Let threads share what the C library keeps of freed memory."""
    try:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
    except AttributeError:
        return  # no glibc
