"""`python -m assets.cli.web`: Dagster's web server, with the guard before it (web_guard.py).

It is what the program `dagster-webserver` does, put together here because that one takes no middleware. A part of
Dagster that is gone in a newer version stops it at the start: it never runs without the guard.
"""

import argparse
import logging
import os
import socket
import sys
from pathlib import Path

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__

from assets.cli.terminal import show_error
from assets.cli.web_guard import WebGuard, own_hosts
from pipelines.errors import ExportError
from pipelines.serving.listening import listen
from pipelines.settings import load_settings

HOST = "127.0.0.1"
_LOG = logging.getLogger("dagster-webserver")
# As dagster-webserver's own command has them.
_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW, _POLL_MS = 15_000, 3_600, 20, 2_000
# Open pages keep a websocket: so long the server waits for them when it is stopped.
_STOP_SECONDS = 5
_INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; the exit status."""
    parser = argparse.ArgumentParser(prog="python -m assets.cli.web", description="Dagster's web server, guarded.")
    parser.add_argument(
        "--host", default=HOST, help="address to listen at; another than loopback only in a container, published to it"
    )
    parser.add_argument("--port", type=int, default=3000, help="port to listen at")
    parser.add_argument("--listening-fd", type=int, help="descriptor of a socket to serve, instead of both")
    parser.add_argument("--workspace", type=Path, required=True, help="workspace.yaml: where the code is")
    parser.add_argument("--read-only", action="store_true", help="nobody can start or change anything in the UI")
    options = parser.parse_args(arguments)
    try:
        own = None if options.listening_fd is None else socket.socket(fileno=options.listening_fd)
        with own or listen(options.host, options.port) as listening:
            serve_web(listening, options.workspace, read_only=options.read_only)
    except ExportError as error:
        show_error(error)
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def serve_web(listening: socket.socket, workspace: Path, *, read_only: bool) -> None:
    """Serve Dagster's UI for the instance in DAGSTER_HOME.

    Args:
        listening: Socket to serve. The UI has no login: in a container it listens at all interfaces, and the port is
            published on the machine's loopback; the guard takes the same names in Host there.
        workspace: Says where the code server is.
        read_only: Dagster's own mode in which nothing can be started or changed in the UI.

    Raises:
        SettingsError: A setting can't be used.
    """
    settings = load_settings()
    host, port, *_ = listening.getsockname()
    os.environ["DAGSTER_HOME"] = str(settings.dagster_home)
    hosts = own_hosts(port, settings.ui_hosts)
    configure_loggers()
    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW)
        target = WorkspaceFileTarget([str(workspace)])
        with WorkspaceProcessContext(instance, target, __version__, read_only) as context:
            app = create_app_from_workspace_process_context(context, live_data_poll_rate=_POLL_MS)
            app.add_middleware(WebGuard, hosts=hosts)
            config = uvicorn.Config(
                app, log_level="warning", proxy_headers=False, timeout_graceful_shutdown=_STOP_SECONDS
            )
            _LOG.info("Serving the UI on http://%s:%s%s", host, port, ", read-only" if read_only else "")
            uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    sys.exit(main())
