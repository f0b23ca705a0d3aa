"""`python -m assets.cli.web`: Dagster's web server, with a guard before it.

It is what the program `dagster-webserver` does, put together here because that one takes no middleware. A part of
Dagster that is gone in a newer version stops it at the start: it never runs without the guard.

The guard refuses what other web pages send. The server has no login. It listens on loopback, but so near is every page
that a browser on this machine shows: Dagster itself answers any Host and any Origin, and runs a mutation that comes by
GET, so an `<img>` was enough to start a run. It is plain ASGI, so that subscriptions (websockets) pass through.
"""

import argparse
import logging
import os
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

import uvicorn
from dagster import DagsterInstance
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster._utils.log import configure_loggers
from dagster_webserver.app import create_app_from_workspace_process_context
from dagster_webserver.version import __version__
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from assets.cli.interrupts import INTERRUPTED
from assets.cli.terminal import show_error
from pipelines.errors import ExportError
from pipelines.serving.settings import listen
from pipelines.settings import load_settings

LOOPBACK_NAMES = ("127.0.0.1", "localhost", "[::1]")
_GRAPHQL = "/graphql"
_HTTP_PORT = 80
_HEADERS = {
    # No other page shows the UI in a frame, where a click could be stolen.
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
}
# Sec-Fetch-Site of what our own pages send, and of an address that a person typed.
_OWN_SITES = frozenset({"same-origin", "none"})
HOST = "127.0.0.1"
_LOG = logging.getLogger("dagster-webserver")
# As dagster-webserver's own command has them.
_STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_S, _POOL_OVERFLOW, _POLL_MS = 15_000, 3_600, 20, 2_000
# Open pages keep a websocket: so long the server waits for them when it is stopped.
_STOP_SECONDS = 5


@dataclass(frozen=True)
class Refusal:
    """Why a request is refused, as the answer says it, in words for a person."""

    status: HTTPStatus
    reason: str
    headers: dict[str, str] = field(default_factory=dict)


def own_hosts(port: int, more: Iterable[str]) -> frozenset[str]:
    """What a request may give as its Host.

    Args:
        more: Public names, with their port where it is not the usual one of http and https (UI_HOSTS).
    """
    names = {f"{name}:{port}" for name in LOOPBACK_NAMES}
    if port == _HTTP_PORT:
        names.update(LOOPBACK_NAMES)
    return frozenset(names | {name.lower() for name in more})


class WebGuard:
    """Lets in what a person, the UI's own pages or a program sends; refuses what another web page sends."""

    def __init__(self, app: ASGIApp, hosts: frozenset[str]) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        refusal = find_refusal(scope, self._hosts)
        if refusal is not None:
            answer = PlainTextResponse(f"{refusal.reason}\n", refusal.status, {**_HEADERS, **refusal.headers})
            await answer(scope, receive, send)
            return

        async def send_on(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_on)


def find_refusal(scope: Scope, hosts: frozenset[str]) -> Refusal | None:
    """Why a request (http or websocket) is refused by a server of these hosts (own_hosts); None: it is let in."""
    headers = Headers(scope=scope)
    given = headers.getlist("host")
    if len(given) != 1 or given[0].lower() not in hosts:
        return Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"This server does not answer to the Host of the request. It answers to {', '.join(sorted(hosts))};"
            " UI_HOSTS names more.",
        )
    if not all(_is_own(origin, hosts) for origin in headers.getlist("origin")):
        return Refusal(HTTPStatus.FORBIDDEN, "A page of another origin sent this request. UI_HOSTS names our own.")
    if not _is_of_own_site(scope, headers):
        return Refusal(HTTPStatus.FORBIDDEN, "A page of another site sent this request.")
    return None if scope["type"] == "websocket" else _find_wrong_method(scope, headers)


def _find_wrong_method(scope: Scope, headers: Headers) -> Refusal | None:
    """GET never changes anything. What does is sent as JSON, which a page can't send elsewhere without asking first."""
    method, is_graphql = scope["method"], scope["path"] == _GRAPHQL
    if method in {"GET", "HEAD"}:
        # Dagster's own test of whether its page GraphiQL is asked for; else it runs the query that is in the address.
        if is_graphql and not (method == "GET" and "text/html" in headers.get("accept", "")):
            return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Send GraphQL by POST.", {"Allow": "POST"})
        return None
    if method != "POST":
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Use GET or POST.", {"Allow": "GET, HEAD, POST"})
    # Dagster looks for "application/json" anywhere in it, and takes the query from the address where it is not there.
    if [kind.partition(";")[0].strip().lower() for kind in headers.getlist("content-type")] != ["application/json"]:
        return Refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "Send JSON, with Content-Type: application/json.")
    return None


def _is_own(origin: str, hosts: frozenset[str]) -> bool:
    """Whether an Origin is a page of ours; `null` (a file, a sandboxed frame) is not."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    return parts.scheme in {"http", "https"} and parts.netloc.lower() in hosts


def _is_of_own_site(scope: Scope, headers: Headers) -> bool:
    """By what a browser says of who asks (Sec-Fetch-*), where it says so: others may only link to a page."""
    if all(site.lower() in _OWN_SITES for site in headers.getlist("sec-fetch-site")):
        return True
    is_link = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
    return is_link and scope["type"] == "http" and scope["method"] == "GET"


def main(arguments: list[str] | None = None) -> int:
    """Serve until asked to stop; the exit status."""
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
        return INTERRUPTED
    return 0


def serve_web(listening: socket.socket, workspace: Path, *, read_only: bool) -> None:
    """Serve Dagster's UI for the instance in DAGSTER_HOME.

    Args:
        listening: Socket to serve. The UI has no login: in a container it listens at all interfaces, and the port is
            published on the machine's loopback; the guard takes the same names in Host there.
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
