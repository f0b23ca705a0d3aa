"""Who is connected: how many at a time, and how long a connection may go without a whole request.

uvicorn has a limit for all connections together, and none for the time of a request: connections that send nothing, or
a byte now and then, kept everybody out. Here a connection that is not being answered *waits*. It has a limited time for
its next request; and where there is no room for a new connection, the one that waits longest is closed. A client that
does not take its answer is cut off too.
"""

import asyncio
import ipaddress
import socket
import struct
from collections.abc import Callable
from typing import Any, cast

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from pipelines.serving.problems import problem_response, too_busy
from pipelines.serving.security import OPEN_PATHS
from pipelines.serving.settings import ServingSettings

# Of a request, header and body; there is nothing in this API to send a body for.
_LARGEST_REQUEST = 1 << 16
_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
# So many of each limit are for the open paths alone: /health is answered where nothing else is.
_RESERVED = 8
_RESET = struct.pack("ii", 1, 0)  # struct linger: on, 0 s
# Who has an IPv6 address has its /64 too.
_IPV6_PREFIX = 64


class _Group:
    """Connections that share a limit.

    Attributes:
        size: How many there are.
        waiting: Those that are not being answered, the one that has waited longest first.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.size = 0
        self.waiting: dict[GuardedConnection, None] = {}

    def make_room(self) -> bool:
        """See that one more fits in, at the cost of the one that waits longest; False: none waits."""
        while self.size >= self._limit:
            if not self.waiting:
                return False
            next(iter(self.waiting)).cut()
        return True

    @property
    def has_room(self) -> bool:
        """Whether another request can be answered now."""
        return self.size - len(self.waiting) <= self._limit - _RESERVED


class Connections:
    """All connections of a server. Of use to its event loop only."""

    def __init__(self, most: int, settings: ServingSettings) -> None:
        self.settings = settings
        self._all = _Group(most)
        self._clients: dict[str, _Group] = {}
        self._members: set[GuardedConnection] = set()
        # Both ends are one connection's at a time; one that is closed may linger a moment.
        self._by_addresses: dict[Any, GuardedConnection] = {}

    def add(self, connection: "GuardedConnection") -> bool:
        """Take in a new connection; False: there is no room, not even for /health."""
        group = self._clients.get(connection.client)
        if group is not None and not group.make_room():
            return False
        if not self._all.make_room():
            return False
        group = self._clients.setdefault(connection.client, _Group(self.settings.api_client_connections))
        for one in (group, self._all):
            one.size += 1
            one.waiting[connection] = None
        self._members.add(connection)
        self._by_addresses[connection.addresses] = connection
        return True

    def remove(self, connection: "GuardedConnection") -> None:
        """Forget a connection; nothing where it is forgotten already."""
        if connection not in self._members:
            return
        self._members.remove(connection)
        if self._by_addresses.get(connection.addresses) is connection:
            del self._by_addresses[connection.addresses]
        for group in self._groups_of(connection):
            group.size -= 1
            group.waiting.pop(connection, None)
        if not self._clients[connection.client].size:
            del self._clients[connection.client]

    def find(self, scope: Scope) -> "GuardedConnection | None":
        """The connection that a request came by; None where it did not come through a socket, or is gone."""
        return self._by_addresses.get((scope.get("client"), scope.get("server")))

    def begin_answer(self, connection: "GuardedConnection") -> bool:
        """The connection waits no longer; whether there is room for another answer."""
        for group in self._groups_of(connection):
            group.waiting.pop(connection, None)
        return all(group.has_room for group in self._groups_of(connection))

    def end_answer(self, connection: "GuardedConnection") -> None:
        """The connection waits again, unless it is gone."""
        if connection in self._members:
            for group in self._groups_of(connection):
                group.waiting[connection] = None

    def _groups_of(self, connection: "GuardedConnection") -> tuple[_Group, _Group]:
        return self._clients[connection.client], self._all


class GuardedConnection(asyncio.Protocol):
    """A connection with limits; uvicorn's own protocol does the rest.

    Attributes:
        addresses: Both ends of it, as ASGI has them.
        client: Who counts as one client: an IPv4 address, or the network of an IPv6 address.
    """

    def __init__(self, connections: Connections, protocol: asyncio.Protocol) -> None:
        self.addresses: Any = None
        self.client = ""
        self._connections = connections
        self._protocol = protocol
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._alarm: asyncio.TimerHandle | None = None
        self._answers = 0
        self._waits_since = self._loop.time()
        self._taken_at = self._waits_since
        self._received = self._unsent = 0

    def connection_made(self, base: asyncio.BaseTransport) -> None:
        """Take it in, or close it at once."""
        transport = cast("asyncio.Transport", base)
        peer, own = transport.get_extra_info("peername"), transport.get_extra_info("sockname")
        if not peer or not own:  # it is gone already
            transport.abort()
            return
        self.addresses, self.client = ((peer[0], peer[1]), (own[0], own[1])), _client_of(peer[0])
        if not self._connections.add(self):
            transport.abort()
            return
        self._transport = transport
        self._protocol.connection_made(transport)
        self._set_alarm(self._connections.settings.api_request_seconds)

    def data_received(self, data: bytes) -> None:
        """Pass on what came, unless it is too much for a request."""
        if self._transport is None:
            return
        self._received += len(data)
        if self._received <= _LARGEST_REQUEST:
            self._protocol.data_received(data)
            return
        if not self._answers:
            self._transport.write(_TOO_LARGE)
        self._transport.close()

    def eof_received(self) -> bool | None:
        """Pass it on."""
        return self._protocol.eof_received()

    def pause_writing(self) -> None:
        """Pass it on."""
        self._protocol.pause_writing()

    def resume_writing(self) -> None:
        """Pass it on."""
        self._protocol.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._connections.remove(self)
        if self._alarm is not None:
            self._alarm.cancel()
        if self._transport is not None:
            self._protocol.connection_lost(exc)

    def cut(self) -> None:
        """Close it at once; what is not sent yet is lost."""
        self._connections.remove(self)
        if self._transport is None:
            return
        if not self._transport.is_closing():
            # Nor does the kernel keep it for a client that takes nothing.
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self._transport.abort()

    def begin_answer(self) -> bool:
        """A whole request header has come; whether there is room to answer it."""
        self._answers += 1
        self._received = 0
        return self._connections.begin_answer(self)

    def end_answer(self) -> None:
        """The answer is sent, or on its way."""
        self._answers -= 1
        if not self._answers:  # else the next request came before the last answer was sent
            self._waits_since = self._loop.time()
            self._received = 0
            self._connections.end_answer(self)

    def _set_alarm(self, seconds: float) -> None:
        self._alarm = self._loop.call_later(seconds, self._check)

    def _check(self) -> None:
        """Close it where it has waited too long, or its client takes nothing of what is to be sent."""
        assert self._transport is not None  # noqa: S101  there is no alarm before
        now, limit = self._loop.time(), self._connections.settings.api_request_seconds
        unsent = self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._taken_at = unsent, now
        if unsent:
            left = self._taken_at + self._connections.settings.api_stall_seconds - now
        else:
            left = limit if self._answers else self._waits_since + limit - now
        if left > 0:
            self._set_alarm(min(left, limit))
        else:
            self.cut()


class Admission:
    """Answers a request where there is room for one more; an open path always."""

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._app = app
        self._connections = connections

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle a request."""
        connection = self._connections.find(scope) if scope["type"] == "http" else None
        if connection is None:
            await self._app(scope, receive, send)
            return
        has_room = connection.begin_answer()
        try:
            if has_room or scope["path"] in OPEN_PATHS:
                await self._app(scope, receive, send)
            else:
                busy = too_busy("As many requests are being answered as may be at a time. Try again later.")
                answer = problem_response(busy.problem, {**(busy.headers or {}), "Connection": "close"})
                await answer(scope, receive, send)
        finally:
            connection.end_answer()


def guarded(connections: Connections) -> type[asyncio.Protocol]:
    """The class of a server's connections, as uvicorn makes them."""

    class Guarded(GuardedConnection):
        def __init__(self, **options: object) -> None:
            make: Callable[..., asyncio.Protocol] = AutoHTTPProtocol
            super().__init__(connections, make(**options))

    return Guarded


def _client_of(address: str) -> str:
    parsed = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, _IPV6_PREFIX), strict=False))
    return str(parsed)
