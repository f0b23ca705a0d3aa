"""Large batches: memory, slow readers, clients that hang up, and as many at a time as may be."""

import csv
import http.client
import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.serving.conftest import BIG_DOMAINS, LARGE_DOMAINS, Source
from tests.serving.kit import Peak, Served, export_path, served, served_by_program
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.standard]

_MAX_OWN_BYTES = {False: 150 << 20, True: 200 << 20}


@pytest.fixture(scope="module")
def server(large: Source) -> Iterator[Served]:
    with served(large.export_dir, API_MAX_EXPORTS="1", API_EXPORT_WAIT_SECONDS="2", API_STALL_SECONDS="2") as server:
        yield server


@pytest.mark.extended
@pytest.mark.parametrize("form", ["json", "csv", "ndjson", "parquet", "xlsx"])
def test_a_batch_of_100_000_domains_takes_little_memory(big: Source, form: str) -> None:
    lines = size = 0
    with (
        served_by_program(big.export_dir) as fresh,
        Peak(fresh) as peak,
        closing(http.client.HTTPConnection("127.0.0.1", fresh.port, timeout=120)) as connection,
    ):
        connection.request("GET", export_path("big", form))
        response = connection.getresponse()
        assert response.status == 200
        while part := response.read(1 << 20):
            size += len(part)
            lines += part.count(b"\n")
    assert size > 1 << 20
    if form in {"csv", "ndjson"}:
        assert lines == BIG_DOMAINS + (form == "csv")
    # Its own memory: 104 MiB (csv, xlsx) to 126 (json), 178 for Parquet. What is mapped of files, code above all, is 75
    # to 120 MiB more, which the system shares and can drop.
    assert peak.own_bytes < _MAX_OWN_BYTES[form == "parquet"], f"{peak.own_bytes >> 20} MiB"


# Without an encoding it is kept, because it was sent whole once; with one it is read from the snapshot.
@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_who_hangs_up_frees_the_turn(server: Served, encoding: str) -> None:
    if encoding == "identity":
        assert server.ask(export_path("big", "ndjson")).status == 200
    for _ in range(3):
        with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)) as connection:
            connection.request("GET", export_path("big", "ndjson"), headers={"Accept-Encoding": encoding})
            assert connection.getresponse().read(1000)
    # The one turn is free again, long before that batch would have been sent.
    assert len(json.loads(server.ask(export_path("small")).body)) == 10


def test_a_slow_reader_is_cut_off_and_others_go_on(server: Served) -> None:
    with socket.socket() as slow:
        slow.settimeout(60)
        # Before it connects: the window is agreed on then, and what is on its way at the end takes minutes otherwise.
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
        slow.connect(("127.0.0.1", server.port))
        slow.sendall(f"GET {export_path('big', 'ndjson')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert slow.recv(100).startswith(b"HTTP/1.1 200")
        # Meanwhile, who asks for a page of something is answered.
        assert server.ask("/batches").status == 200
        # It holds the only turn until it is cut off, 2 s after it took the last byte.
        wait_until(lambda: server.ask(export_path("small")).status == 200)
        received = b""
        try:
            while part := slow.recv(1 << 20):
                received = (received + part)[-10:]
        except ConnectionResetError:
            pass
        assert not received.endswith(b"0\r\n\r\n"), "the end of a whole file"


def test_more_batches_at_a_time_than_may_be_are_told_to_come_again(server: Served) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as first:
        first.sendall(f"GET {export_path('big', 'ndjson')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert first.recv(100).startswith(b"HTTP/1.1 200")  # it has the turn
        stop = threading.Event()

        def read_on() -> None:
            # 3 MB a second. With less, a block may take longer than API_STALL_SECONDS to go: the system takes more
            # only when a third of its buffer of some MB is free.
            while not stop.is_set() and first.recv(1 << 16):
                time.sleep(0.02)

        reader = threading.Thread(target=read_on)
        reader.start()
        try:
            answer = server.ask(export_path("small"))
        finally:
            stop.set()
            reader.join()
    assert (answer.status, answer.headers["content-type"]) == (503, "application/problem+json")
    assert int(answer.headers["retry-after"]) > 0


def test_a_whole_csv_is_right_in_count_and_order(server: Served) -> None:
    rows = list(csv.DictReader(io.StringIO(server.ask(export_path("big", "csv")).body.decode("utf-8-sig"))))
    assert [row["Domain"] for row in rows] == [f"company-{n}.example.com" for n in range(1, LARGE_DOMAINS + 1)]
    assert {row["Total GLEIF Candidates"] for row in rows} == {"3"}
