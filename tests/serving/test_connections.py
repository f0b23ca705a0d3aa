"""Connections that send nothing, or hardly anything: they keep nobody out, and are closed in time."""

import resource
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPResponse
from pathlib import Path

import pytest

from tests.serving.conftest import Source
from tests.serving.kit import Served, served
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]

SILENT = 1_005
LIMIT_S = 5
PATIENCE_S = 60
# By then all are closed; on a busy machine the server needs seconds to close a thousand.
CLOSED_S = 2 * LIMIT_S + 10
HEAD = b"GET /batches HTTP/1.1\r\nHost: 127.0.0.1\r\n"


@pytest.fixture(scope="module")
def server(hostile: Source) -> Iterator[Served]:
    with served(hostile.export_dir, API_REQUEST_SECONDS=str(LIMIT_S)) as running:
        yield running


@pytest.fixture(autouse=True)
def many_files() -> None:
    """This process holds the other ends of the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < 4_000:
        if hard != resource.RLIM_INFINITY and hard < 4_000:
            pytest.skip(f"needs 4,000 open files, the system allows {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (4_000, hard))


def connect(server: Served, source: str = "127.0.0.1") -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), PATIENCE_S, source_address=(source, 0))


def ask(server: Served, path: str, source: str) -> tuple[int, float]:
    """Status of an answer, and the seconds that it took, over a connection of its own from an address."""
    begin = time.monotonic()
    with connect(server, source) as wire:
        wire.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
        answer = b""
        while part := wire.recv(65536):
            answer += part
    return int(answer.split(b" ", 2)[1]), time.monotonic() - begin


def wait_until_closed(wires: list[socket.socket], within_s: float) -> None:
    """Until the other side has closed all of them."""
    until, poll = time.monotonic() + within_s, select.poll()
    left = {wire.fileno(): wire for wire in wires}
    for number in left:
        poll.register(number, select.POLLIN)
    while left:
        assert time.monotonic() < until, f"{len(left)} of {len(wires)} connections are still open"
        for number, _ in poll.poll(100):
            try:
                is_closed = not left[number].recv(65536)
            except ConnectionError:
                is_closed = True
            if is_closed:
                poll.unregister(number)
                del left[number]


@contextmanager
def repeated(action: Callable[[], None], pause_s: float) -> Iterator[None]:
    """Do something again and again meanwhile."""
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(pause_s):
            action()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def send_to_all(wires: list[socket.socket], data: Callable[[], bytes]) -> Callable[[], None]:
    def send() -> None:
        part = data()
        for wire in wires:
            try:
                wire.send(part)
            except OSError:  # closed by the server
                continue

    return send


def assert_served(server: Served) -> None:
    """Anybody hears that it is healthy, and who did nothing wrong is served."""
    for source in ("127.0.0.1", "127.0.0.2"):
        status, seconds = ask(server, "/health", source)
        assert status == 200
        assert seconds < LIMIT_S - 1, "it waited until the others were closed"
    assert ask(server, "/batches?limit=1", "127.0.0.2")[0] == 200
    assert ask(server, "/domains/1/candidates", "127.0.0.3")[0] == 200


def test_silent_connections_keep_nobody_out(server: Served) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(server)) for _ in range(SILENT)]
        opened = time.monotonic()
        assert_served(server)
        while time.monotonic() - opened < LIMIT_S / 2:
            assert_served(server)
        wait_until_closed(wires, CLOSED_S)
    assert ask(server, "/batches?limit=1", "127.0.0.1")[0] == 200


def test_silent_connections_of_many_addresses_keep_nobody_out(server: Served) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(server, f"127.0.1.{n % 100 + 1}")) for n in range(SILENT)]
        assert_served(server)
        wait_until_closed(wires, CLOSED_S)


@pytest.mark.parametrize("begin", [b"", HEAD, HEAD + b"X-Long: "], ids=["first line", "between headers", "in a header"])
def test_a_header_that_comes_byte_by_byte_is_cut_off(server: Served, begin: bytes) -> None:
    letters = iter("GET /batches HTTP/1.1\r\n" * 100 if not begin else "x" * 1000)
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(server)) for _ in range(SILENT)]
        for wire in wires[-100:]:
            wire.sendall(begin)
        with repeated(send_to_all(wires, lambda: next(letters).encode()), 0.3):
            assert_served(server)
            wait_until_closed(wires, CLOSED_S)


def test_a_body_that_comes_byte_by_byte_is_cut_off(server: Served) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(connect(server)) for _ in range(200)]
        for wire in wires:
            wire.sendall(b"GET /docs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n")
        with repeated(send_to_all(wires, lambda: b"x"), 0.3):
            assert_served(server)
            wait_until_closed(wires, CLOSED_S)


def test_a_second_header_that_comes_byte_by_byte_is_cut_off(server: Served) -> None:
    """A connection that was answered once is no better."""
    with connect(server) as wire:
        wire.sendall(HEAD + b"\r\n")
        assert wire.recv(12) == b"HTTP/1.1 200"
        letters = iter((HEAD + b"X-Long: " + b"x" * 1000).decode())
        with repeated(send_to_all([wire], lambda: next(letters).encode()), 0.1):
            wait_until_closed([wire], CLOSED_S)


@pytest.mark.parametrize("begin", [HEAD + b"X-Long: ", b"GET /", HEAD + b"Content-Length: 100000000\r\n\r\n"])
def test_a_request_without_end_is_cut_off(server: Served, begin: bytes) -> None:
    """Before it fills the memory."""
    before, _ = server.memory()
    with connect(server) as wire:
        wire.sendall(begin)
        with pytest.raises(ConnectionError):
            wire.sendall(b"x" * (100 << 20))
    assert server.memory()[0] < before + (20 << 20)


def test_a_client_that_takes_no_answer_is_cut_off(hostile: Source) -> None:
    """Twenty answers of 1.4 MB at once: more than the buffers of the system hold."""
    request = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with served(hostile.export_dir, API_STALL_SECONDS="2", API_REQUEST_SECONDS="1") as server, ExitStack() as stack:
        wires = [stack.enter_context(connect(server)) for _ in range(20)]
        for wire in wires:
            wire.sendall(request * 20)
        ports = {wire.getsockname()[1] for wire in wires}
        wait_until(lambda: connected_ports(server) >= ports)
        wait_until(lambda: not connected_ports(server) & ports)


def connected_ports(server: Served) -> set[int]:
    """Ports of its clients, as the kernel sees it."""
    return {one.raddr.port for one in server.process.net_connections("tcp") if one.raddr}


def test_slow_requests_and_kept_connections_are_served(server: Served) -> None:
    """What takes long without being an attack: a request in two parts, and several over one connection."""
    with connect(server) as wire:
        for _ in range(3):
            wire.sendall(HEAD)
            time.sleep(LIMIT_S / 3)
            wire.sendall(b"\r\n")
            with HTTPResponse(wire) as response:
                response.begin()
                assert response.status == 200
                response.read()


def test_a_slow_reader_gets_its_batch(big: Source) -> None:
    """Sending takes longer than a request may: the limit is for what comes in."""
    with served(big.export_dir, API_REQUEST_SECONDS="1") as server, connect(server) as wire:
        wire.sendall(b"GET /export/big?format=csv HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        begin, size = time.monotonic(), 0
        while size < 20 << 20:
            part = wire.recv(1 << 17)
            assert part, f"cut off after {size} bytes"
            size += len(part)
            time.sleep(0.02)
        assert time.monotonic() - begin > 3


def test_a_server_that_answers_as_many_as_it_may_says_so_and_is_healthy(big: Source, tmp_path: Path) -> None:
    """Eight of the connections of an address are for /health."""
    settings = {"API_CLIENT_CONNECTIONS": "16", "API_MAX_EXPORTS": "1", "API_EXPORT_WAIT_SECONDS": "30"}
    with served(big.export_dir, **settings) as server, ExitStack() as stack:
        for _ in range(8):
            wire = stack.enter_context(connect(server))
            wire.sendall(b"GET /export/big HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        wait_until(lambda: ask(server, "/batches?limit=1", "127.0.0.1")[0] == 503)
        assert ask(server, "/health", "127.0.0.1")[0] == 200
        assert ask(server, "/batches?limit=1", "127.0.0.2")[0] == 200
