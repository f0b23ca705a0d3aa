"""API_MEMORY_MB is what queries, batches and answers take together, on odd rows too; what does not fit is refused."""

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, IncompleteRead
from pathlib import Path

import pytest

from tests.exporting import export, settings_for
from tests.integration.kit import run_sql
from tests.memory import HUGE, HUGE_ID, HUGE_MB
from tests.oracle.postgres import Cluster
from tests.oracle.source import fill_source
from tests.serving.kit import Peak, Served, export_path, served_by_program, with_query

pytestmark = [pytest.mark.integration, pytest.mark.extended]

PARQUET_BYTES = 35 << 20  # of pyarrow, which is loaded when a batch is wanted as Parquet
# A domain in 1,000 batches, with a text of 5 kB in each: a page of 5 MB.
PAGES = (
    "INSERT INTO domains (id, domain, status, batch_id, company_name)"
    " SELECT n, 'same.example', 'success', 'b' || n, repeat(md5(n::text), 160) FROM generate_series(1, 1000) AS n",
)


def export_dir_of(cluster: Cluster, folder: Path, statements: tuple[str, ...], memory_mb: int) -> Path:
    with cluster.new_database() as database:
        fill_source(database)
        run_sql(database, *statements)
        export(settings_for(database, folder, database_memory_mb=memory_mb))
    return folder


@pytest.fixture(scope="module")
def huge(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_dir_of(cluster, tmp_path_factory.mktemp("huge"), HUGE, HUGE_MB)


@pytest.fixture(scope="module")
def pages(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_dir_of(cluster, tmp_path_factory.mktemp("pages"), PAGES, 256)


def received(server: Served, path: str) -> tuple[int, int, bytes]:
    """Status, bytes of the body, and its beginning; -1 bytes: it was cut off."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=600)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        beginning, size = response.read(1_000), 0
        while part := response.read(1 << 20):
            size += len(part)
        return response.status, len(beginning) + size, beginning
    except IncompleteRead:
        return response.status, -1, beginning
    finally:
        connection.close()


def used(server: Served) -> int:
    return server.memory()[1]


def test_a_row_of_200_mb_does_not_take_the_memory_of_the_machine(huge: Path) -> None:
    """It took 1.3 GB at API_MEMORY_MB=24, one request alone."""
    questions = [
        *(export_path("b", form) for form in ("json", "csv", "parquet", "xlsx")),
        *(f"/domains?name={number}.example" for number in (HUGE_ID, HUGE_ID, 1)),
        *("/domains/150/candidates", "/batches", "/search?q=example", f"/entities/{1:020d}") * 2,
    ]
    patience = {"API_QUERY_SECONDS": "600", "API_EXPORT_WAIT_SECONDS": "600"}  # this is about memory
    with served_by_program(huge, API_MEMORY_MB="256", API_CACHE_MB="0", **patience) as server:
        before = used(server)
        with Peak(server) as peak, ThreadPoolExecutor(8) as pool:
            found = dict(zip(questions, pool.map(lambda path: received(server, path), questions), strict=True))
        assert peak.own_bytes - before < (256 << 20) + PARQUET_BYTES
        assert received(server, "/batches")[0] == 200
    refused = {path for path, (status, _, _) in found.items() if status == 507}
    # DuckDB reads the row with those beside it: none can be had with that column.
    assert refused == {export_path("b", "json"), export_path("b", "parquet"), *questions[4:7]}
    assert {status for status, _, _ in found.values()} == {200, 507}
    for path in refused:
        problem = json.loads(found[path][2])
        assert (problem["type"], problem["status"]) == ("urn:lei-exports:too-large", 507)
        assert "API_MEMORY_MB = 256 MB" in problem["detail"]


def test_with_four_times_the_memory_it_is_sent(huge: Path) -> None:
    with served_by_program(huge, API_MEMORY_MB="1024", API_CACHE_MB="0", API_QUERY_SECONDS="600") as server:
        before = used(server)
        with Peak(server) as peak, ThreadPoolExecutor(4) as pool:
            batch = pool.submit(received, server, export_path("b", "ndjson"))
            others = list(pool.map(lambda n: received(server, f"/domains?name={n}.example"), (1, HUGE_ID, 2, 3)))
            status, size, _ = batch.result()
        assert peak.own_bytes - before < 1_024 << 20
    assert (status, size > (225 << 20)) == (200, True), size
    assert [status for status, _, _ in others] == [200, 507, 200, 200]


@pytest.fixture
def slow_clients() -> Iterator[list[socket.socket]]:
    with ExitStack() as stack:
        yield [stack.enter_context(socket.socket()) for _ in range(16)]


def test_answers_that_clients_do_not_read_are_counted(pages: Path, slow_clients: list[socket.socket]) -> None:
    path = with_query("/domains", name="same.example", limit=1000)
    with served_by_program(
        pages,
        API_MEMORY_MB="256",
        API_CACHE_MB="0",
        API_EXPORT_WAIT_SECONDS="0.5",
        API_STALL_SECONDS="60",
        API_QUERY_SECONDS="60",
    ) as server:
        size = len(server.ask(path).body)
        assert size > 5_000_000
        before = used(server)
        with Peak(server) as peak:
            for client in slow_clients:
                client.settimeout(300)
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8192)
                client.connect(("127.0.0.1", server.port))
                client.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            answers = [client.recv(12) for client in slow_clients]
        assert set(answers) == {b"HTTP/1.1 200", b"HTTP/1.1 503"}
        assert answers.count(b"HTTP/1.1 200") <= (256 << 20) / 8 / size
        assert peak.own_bytes - before < 256 << 20
        assert server.ask("/batches").status == 200
