"""The comparison of servers: the load, what it says of failures, and the lines of its report."""

import time
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from bench.serving.__main__ import load
from bench.serving.load import Plan
from bench.serving.report import BATCH, CANDIDATES, Measured, lines_of
from bench.serving.servers import NODE, OURS, Server
from tests.ports import answering

pytestmark = pytest.mark.extended

_PAUSE_SECONDS = 0.02


class _Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        time.sleep(_PAUSE_SECONDS)
        body = b"x" * 1_000
        self.send_response(HTTPStatus.NOT_FOUND if self.path == "/missing" else HTTPStatus.OK)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def port() -> Iterator[int]:
    with answering(_Answers) as port:
        yield port


def test_each_path_is_asked_once_where_no_more_are_wanted(port: int) -> None:
    found = load(Plan(port, ["/a", "/b", "/c"], clients=1, seconds=60, max_requests=3))
    assert len(found["latencies"]) == 3
    assert found["received_bytes"] == 3_000
    assert min(found["latencies"]) >= _PAUSE_SECONDS
    assert found["seconds"] >= sum(found["latencies"])


def test_clients_ask_beside_each_other_until_the_time_is_over(port: int) -> None:
    found = load(Plan(port, ["/a"], clients=4, seconds=0.5, max_requests=10_000))
    assert found["seconds"] >= 0.5 - _PAUSE_SECONDS
    assert sum(found["latencies"]) > 2 * found["seconds"], "more than two at a time"
    assert found["received_bytes"] == 1_000 * len(found["latencies"])


def test_an_answer_that_is_none_ends_the_comparison(port: int) -> None:
    with pytest.raises(RuntimeError, match="/missing was answered 404"):
        load(Plan(port, ["/missing"], clients=1, seconds=60, max_requests=1))


def test_ratios_stand_beside_their_targets() -> None:
    ours = Measured(OURS, BATCH, 1, 100, 50.0, 0.02, 0.03, 0.25, 0.3, 1e6, 0.0, 0.016, 0.0, 0.0)
    theirs = replace(ours, server=NODE, per_second=2.0, p99_s=0.7, first_p50_s=0.5)
    one, other = replace(ours, question=CANDIDATES), replace(theirs, question=CANDIDATES, first_p99_s=0.1)
    named = [Server(name, f"title of {name}", (), Path(), {}, "nothing") for name in (NODE, OURS)]
    lines = "\n".join(lines_of([ours, theirs, one, other], named))
    assert (
        "batch, 1 client, against node: 25.0 times the requests per second (target 20); for the first time 2.0" in lines
    )
    assert "p99 30.0 against 700.0 ms, no worse; for the first time 300.0 against 100.0 ms, worse" in lines
    assert "| title of ours | 1 | 100 | 50.00 | 20.0 | 30.0 | 250.0, 300.0 |" in lines
