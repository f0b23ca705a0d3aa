"""An S3 server on a socket (moto's), a proxy before it that misbehaves on demand, and snapshots to push there."""

import http.client
import http.server
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Literal

import boto3
import polars as pl
from botocore.config import Config

from pipelines.remote.pushing import Pushed, push_snapshot
from pipelines.remote.reading import open_remote
from pipelines.settings import Settings, load_settings
from pipelines.snapshots.opening import Snapshot
from tests.forking import CONTEXT
from tests.ports import free_port
from tests.publish.kit import Kit
from tests.waiting import wait_until

KEY_ID, SECRET = "AKIAEXAMPLE000000000", "wJalrXUtnFEMIsecretEXAMPLEKEY"
_START_S = 180

Behaviour = Literal["pass", "503", "403", "cut", "cut_after", "stall", "damage"]


@contextmanager
def s3_server(**environment: str) -> Iterator[str]:
    """moto's server in a process of its own; its address."""
    port = free_port()
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "AWS_ACCESS_KEY_ID": KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET, **environment},
    )
    try:
        wait_until(lambda: _answers(port), _START_S)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.kill()
        server.wait()


def _answers(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def store_environment(endpoint: str) -> dict[str, str]:
    """The variables of the store, as an operator sets them."""
    return {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ALLOW_HTTP": "true",
        "AWS_REGION": "us-east-1",
        "AWS_ACCESS_KEY_ID": KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET,
    }


@dataclass
class Request:
    """A request that the proxy has got; the prefix is `exports`."""

    method: str
    path: str

    @property
    def name(self) -> str:
        """Method and key below the prefix, such as `PUT current.json`."""
        key = urllib.parse.unquote(self.path.partition("?")[0]).partition("/exports/")[2]
        return f"{self.method} {key}"


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on to a server; `decide` says what becomes of each, `passed` hears of those passed on."""

    daemon_threads = True

    def __init__(self, endpoint: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.decide: Callable[[Request], Behaviour] = lambda _: "pass"
        self.passed: Callable[[Request], None] = lambda _: None
        self.seen: list[Request] = []
        self.ended = threading.Event()
        self.server = endpoint.removeprefix("http://")
        self.endpoint = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self.ended.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_: Any) -> None:
        """Clients that are killed break their connections."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Else each answer waits 40 ms for the acknowledgement of its headers.
    disable_nagle_algorithm, wbufsize = True, -1
    server: Proxy

    def _handle(self) -> None:
        request = Request(self.command, self.path)
        self.server.seen.append(request)
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        # Who was killed has not sent it all: the server would wait for the rest.
        behaviour = self.server.decide(request) if len(body) == length else "cut"
        if behaviour == "damage":
            middle, behaviour = len(body) // 2, "pass"
            body = body[:middle] + bytes([body[middle] ^ 0xFF]) + body[middle + 1 :]
        self.close_connection = behaviour != "pass"
        if behaviour == "stall":
            self.server.ended.wait(60)
        elif behaviour in {"503", "403"}:
            self._answer(int(behaviour), {}, f"<Error><Code>No</Code><Key>{KEY_ID}</Key></Error>".encode())
        elif behaviour != "cut":
            status, headers, content = self._forward(body)
            self.server.passed(request)
            if behaviour == "pass":
                self._answer(status, headers, content)

    def _forward(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
        headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
        with closing(http.client.HTTPConnection(self.server.server, timeout=60)) as server:
            server.request(self.command, self.path, body, headers)
            answer = server.getresponse()
            return answer.status, dict(answer.getheaders()), answer.read()

    def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
        self.send_response(status)
        length = headers.get("Content-Length") if self.command == "HEAD" else None
        for name, value in headers.items():
            if name.lower() not in {"content-length", "connection", "transfer-encoding", "date", "server"}:
                self.send_header(name, value)
        if status != http.HTTPStatus.NO_CONTENT:
            self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _handle  # noqa: N815  as http.server calls them

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@dataclass
class Bucket:
    """A bucket with what a test wants to know and to break, past the proxy."""

    endpoint: str
    name: str
    prefix: str = "exports"
    client: Any = field(init=False)

    def __post_init__(self) -> None:
        self.client = boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            aws_access_key_id=KEY_ID,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 1}),
        )
        self.client.create_bucket(Bucket=self.name)

    @property
    def url(self) -> str:
        return f"s3://{self.name}/{self.prefix}"

    def objects(self) -> dict[str, int]:
        """Size of each object, by its key below the prefix."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.name, Prefix=f"{self.prefix}/")
        return {
            found["Key"].removeprefix(f"{self.prefix}/"): found["Size"]
            for page in pages
            for found in page.get("Contents", [])
        }

    def read(self, key: str) -> bytes:
        content: bytes = self.client.get_object(Bucket=self.name, Key=f"{self.prefix}/{key}")["Body"].read()
        return content

    def write(self, key: str, content: bytes) -> None:
        self.client.put_object(Bucket=self.name, Key=f"{self.prefix}/{key}", Body=content)

    def delete(self, key: str) -> None:
        self.client.delete_object(Bucket=self.name, Key=f"{self.prefix}/{key}")

    def open_uploads(self) -> int:
        """Multipart uploads that were begun and neither completed nor aborted."""
        return len(self.client.list_multipart_uploads(Bucket=self.name).get("Uploads", []))


def settings_for(kit: Kit, url: str, **overrides: Any) -> Settings:
    return load_settings({"export_dir": kit.export_dir, "publish_url": url, "publish_retry_seconds": 20, **overrides})


def push(kit: Kit, url: str, *, replace: bool = False, check_all: bool = False, **overrides: Any) -> Pushed:
    return push_snapshot(settings_for(kit, url, **overrides), kit.current(), replace=replace, check_all=check_all)


def assert_published(url: str, snapshot: Snapshot) -> None:
    """Assert that what is current there is the snapshot: every table, with its rows in their order."""
    remote = open_remote(url, retry_seconds=20)
    assert remote.record.snapshot_id == snapshot.manifest.id
    assert remote.manifest() == snapshot.manifest
    assert remote.table_names == snapshot.table_names
    for table in snapshot.table_names:
        assert_same_rows(remote.scan(table), snapshot.scan(table))
        # Who reads one table reads its newest version, by any engine.
        newest = pl.scan_delta(f"{url}/{table}").collect()
        assert newest.height == snapshot.record_of(table).rows


def assert_same_rows(found: pl.LazyFrame, expected: pl.LazyFrame) -> None:
    left, right = found.collect(), expected.collect()
    assert left.schema == right.schema
    assert left.equals(right, null_equal=True)


def folder_objects(path: Path) -> list[str]:
    """Files below a folder."""
    return sorted(str(found.relative_to(path)) for found in path.rglob("*") if found.is_file())


def start_push(kit: Kit, url: str, endpoint: str, **overrides: Any) -> BaseProcess:
    """A push in a process of its own, which a test kills."""
    process = CONTEXT.Process(target=_push, args=(kit, url, store_environment(endpoint), overrides))
    process.start()
    return process


def _push(kit: Kit, url: str, environment: dict[str, str], overrides: dict[str, Any]) -> None:
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    push(kit, url, **overrides)
