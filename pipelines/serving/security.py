"""What stands before every request: a log line, headers, the Host, the token. Plain ASGI, for streams."""

import base64
import binascii
import hmac
import logging
import time
from collections.abc import Iterable
from http import HTTPStatus

from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serving.problems import plain_problem

_LOG = logging.getLogger(__name__)
OPEN_PATHS = frozenset({"/health"})
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class RequestLogMiddleware:
    """Logs each request without its query (it may hold what a person looks for), and adds headers to each answer.

    A HEAD request goes on as GET; the answer's body is left out.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin, status = time.perf_counter(), 0
        is_head = scope["method"] == "HEAD"

        async def send_on(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            elif is_head:
                message = {**message, "body": b""}
            await send(message)

        inner = {**scope, "method": "GET", "lei_exports.head": True} if is_head else scope
        try:
            await self._app(inner, receive, send_on)
        finally:
            # As it came, in ASCII: a decoded path could hold line ends.
            path = scope.get("raw_path", b"").partition(b"?")[0].decode("ascii", "backslashreplace")
            _LOG.info("%s %s %s %.1f ms", scope["method"], path, status, (time.perf_counter() - begin) * 1000)


class HostCheck:
    """Lets in requests for known names only: else a web page could make its own name point here (DNS rebinding)."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] == "http" and _host_name(Headers(scope=scope).get("host", "")) not in self._hosts:
            detail = "This server does not answer to the Host of the request; API_HOSTS names more hosts."
            await plain_problem(HTTPStatus.MISDIRECTED_REQUEST, detail)(scope, receive, send)
            return
        await self._app(scope, receive, send)


class TokenCheck:
    """Lets in requests with the token only.

    A browser that shows one of the `pages` sends it as a password, whatever the user name.
    """

    def __init__(self, app: ASGIApp, token: SecretStr, pages: frozenset[str]) -> None:
        self._app = app
        self._pages = pages
        self._token = token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        is_page = scope["path"] in self._pages
        given = _given_token(Headers(scope=scope).get("authorization", ""), takes_password=is_page)
        if not hmac.compare_digest(given, self._token):
            challenge = 'Bearer realm="lei-exports"' + (', Basic realm="lei-exports"' if is_page else "")
            detail = "Send the token of the server: Authorization: Bearer …"
            headers = {"WWW-Authenticate": challenge}
            await plain_problem(HTTPStatus.UNAUTHORIZED, detail, headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)


def _given_token(authorization: str, *, takes_password: bool) -> bytes:
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")
    if scheme.lower() == "basic" and takes_password:
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


def _host_name(host: str) -> str:
    """A Host without its port, `[::1]:8000` too."""
    name, colon, port = host.lower().rpartition(":")
    return (
        name if colon and (port.isdecimal() or not port) and (":" not in name or name.endswith("]")) else host.lower()
    )
