"""Runs the application: the socket, uvicorn, the log.

Belongs here: what happens from start to stop of the process. Does not: the application (app.py), the command's options.
"""

import ctypes
import logging
from collections.abc import Callable

import uvicorn

from pipelines.serving.app import create_app
from pipelines.serving.listening import listen
from pipelines.serving.settings import ServingSettings

# Connections at a time, idle ones included; what comes beyond is answered 503 at once.
_MOST_CONNECTIONS = 1_000
# Batches that are being sent when the server is told to stop have so long to end.
_STOP_SECONDS = 10
# M_ARENA_MAX of glibc's malloc.h. By default a thread has one of its own: 4 MB more while a batch is sent.
_ARENA_MAX, _ARENAS = -8, 2


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
    app = create_app(settings, host)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_graceful_shutdown=_STOP_SECONDS,
        ws="none",
    )
    with listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        on_listening(f"http://{shown}:{listening.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listening])


def _share_arenas() -> None:
    """Let threads share what the C library keeps of freed memory."""
    try:
        ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
    except AttributeError:
        return  # no glibc
