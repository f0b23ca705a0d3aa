"""The example for the Express application (docs/from-express.md), run by Node in front of a real server."""

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.forking import run_program
from tests.ports import free_port
from tests.serving.conftest import Source
from tests.serving.kit import Client, Served, export_path, served
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "express"
TOKEN = "token-of-the-application-0123456789"
_FILES = ("package.json", "package-lock.json", "exports.js", "server.js")


@pytest.fixture(scope="module")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example with what it needs installed, by its lock."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no node and npm on the PATH")
    folder = tmp_path_factory.mktemp("express")
    for name in _FILES:
        shutil.copy(EXAMPLE / name, folder / name)
    command = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    done = run_program(command, cwd=folder, timeout=600)
    if done.returncode:
        pytest.skip(f"npm can't install express: {done.stderr.strip().splitlines()[:1]}")
    return folder


@contextmanager
def proxied(folder: Path, port: int, token: str = TOKEN) -> Iterator[int]:
    """The application in front of a server; its port."""
    own = free_port()
    process = subprocess.Popen(
        ["node", "server.js"],
        cwd=folder,
        env={
            "PATH": os.environ["PATH"],
            "PORT": str(own),
            "EXPORT_API_URL": f"http://127.0.0.1:{port}",
            "EXPORT_API_TOKEN": token,
        },
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline().startswith(b"http://"), "the application does not start"
        yield own
    finally:
        process.terminate()
        process.wait(timeout=120)
        process.stdout.close()


@pytest.fixture(scope="module")
def server(hostile: Source) -> Iterator[Served]:
    with served(hostile.export_dir, EXPORT_API_TOKEN=TOKEN) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(application: Path, server: Served) -> Iterator[int]:
    with proxied(application, server.port) as port:
        yield port


@pytest.fixture
def client(proxy: int) -> Iterator[Client]:
    """A connection of the test's own: Node closes one on which nothing was asked for 5 s."""
    with Client(proxy) as client:
        yield client


def direct(server: Served, path: str) -> bytes:
    answer = server.ask(path, Authorization=f"Bearer {TOKEN}")
    assert answer.status == 200
    return answer.body


@pytest.mark.parametrize("form", ["json", "parquet"])
def test_every_batch_comes_through_whole(hostile: Source, server: Served, client: Client, form: str) -> None:
    ids = hostile.snapshot.scan("batch_summaries").collect()["batch_id"].to_list()
    chosen = [batch_id for batch_id in ids if set(batch_id) & set("/\n?#%&+ ")] if form == "json" else ids[:5]
    assert form != "json" or all(any(mark in batch_id for batch_id in chosen) for mark in "/\n")
    for batch_id in chosen:
        path = export_path(batch_id, form)
        answer = client.ask(f"/api{path}")
        assert answer.status == 200, batch_id
        assert answer.body == direct(server, path)
        assert answer.headers["content-disposition"].startswith("attachment; filename=")
        assert answer.headers["snapshot-id"] == hostile.snapshot.manifest.id


def test_an_unchanged_batch_is_not_sent_again(hostile: Source, client: Client) -> None:
    batch_id = hostile.snapshot.scan("batch_summaries").collect()["batch_id"][-1]
    path = f"/api{export_path(batch_id)}"
    tag = client.ask(path).headers["etag"]
    again = client.ask(path, If_None_Match=tag)
    assert (again.status, again.body) == (304, b"")
    head = client.ask(path, "HEAD")
    assert (head.status, head.body, head.headers["etag"]) == (200, b"", tag)


def test_candidates_and_batches_come_through(server: Served, hostile: Source, client: Client) -> None:
    for domain_id in hostile.snapshot.scan("candidate_exports").collect()["domain_id"].unique()[:20]:
        path = f"/domains/{domain_id}/candidates"
        assert client.ask(f"/api{path}").body == direct(server, path)
    path = "/batches?sort=result_count&descending=true&limit=3"
    assert client.ask(f"/api{path}").body == direct(server, path)


def test_what_is_not_there_is_said(client: Client) -> None:
    for path in (export_path("nowhere"), "/domains/2147483000/candidates"):
        answer = client.ask(f"/api{path}")
        assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json")
        assert json.loads(answer.body)["status"] == 404
    # A path of its own can't be smuggled in: it stays one encoded part.
    assert client.ask(f"/api/domains/{quote('../../batches?x=', safe='')}/candidates").status in {404, 422}


def test_a_wrong_token_is_the_fault_of_the_application(application: Path, server: Served) -> None:
    with proxied(application, server.port, "wrong") as port, Client(port) as client:
        answer = client.ask("/api/batches")
    assert (answer.status, answer.headers["content-type"]) == (502, "application/problem+json")
    assert b"wrong" not in answer.body


def test_without_a_server_it_says_so(application: Path) -> None:
    with proxied(application, free_port()) as port, Client(port) as client:
        assert client.ask("/api/batches").status == 502


def test_who_hangs_up_frees_the_turn_and_a_cut_file_is_seen_to_be_cut(application: Path, big: Source) -> None:
    with (
        served(big.export_dir, EXPORT_API_TOKEN=TOKEN, API_MAX_EXPORTS="1", API_EXPORT_WAIT_SECONDS="1") as server,
        proxied(application, server.port) as port,
    ):
        request = f"GET /api{export_path('big', 'ndjson')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        with socket.create_connection(("127.0.0.1", port), timeout=60) as gone:
            gone.sendall(request)
            assert gone.recv(1000).startswith(b"HTTP/1.1 200")
        with Client(port) as client:
            wait_until(
                lambda: client.ask(f"/api{export_path('small')}").status == 200,
                reason=lambda: "the turn is not freed",
            )
        with socket.create_connection(("127.0.0.1", port), timeout=60) as cut:
            cut.sendall(request)
            assert cut.recv(1000).startswith(b"HTTP/1.1 200")
            server.process.kill()
            received = b""
            try:
                while part := cut.recv(1 << 20):
                    received = (received + part)[-10:]
            except ConnectionResetError:
                pass
        assert not received.endswith(b"0\r\n\r\n"), "the end of a whole file"
