"""The Dagster UI refuses what another web page sends: each request as its bytes, against the command of the unit."""

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from pipelines.errors import SettingsError
from pipelines.settings import load_settings
from tests.forking import run_program
from tests.ports import free_port

pytestmark = [pytest.mark.orchestration, pytest.mark.standard]

UNIT = Path(__file__).resolve().parents[2] / "docs" / "deploy" / "lei-exports-web.service"
PUBLIC = "exports.example"
# Any mutation would do; this one needs no code server, and can be asked for.
MUTATION = 'mutation { setConcurrencyLimit(concurrencyKey: "door", limit: 7) }'
QUESTION = '{ instance { concurrencyLimit(concurrencyKey: "door") { slotCount } } }'
JSON = "Content-Type: application/json"
BODY = json.dumps({"query": MUTATION})
BY_GET = f"/graphql?query={quote(MUTATION)}"
UPGRADE = (
    "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Protocol: graphql-ws",
)  # fmt: skip


@dataclass(frozen=True)
class Web:
    """A running web server of Dagster."""

    port: int

    def send(self, method: str, path: str, *headers: str, body: str = "", host: str | None = None) -> tuple[int, str]:
        """Send these bytes and nothing else; status and text of the answer."""
        lines = [f"{method} {path} HTTP/1.1", f"Host: {host or f'127.0.0.1:{self.port}'}", *headers]
        length = [f"Content-Length: {len(body)}"] if body else []
        closing = [] if "Connection: Upgrade" in headers else ["Connection: close"]
        with socket.create_connection(("127.0.0.1", self.port), 30) as wire:
            wire.sendall("\r\n".join([*lines, *length, *closing, "", body]).encode())
            answer = b""
            while not (closing == [] and b"\r\n\r\n" in answer) and (part := wire.recv(65536)):
                answer += part
        return int(answer.split(b" ", 2)[1]), answer.decode()

    def limit(self) -> int:
        """What the mutation would change, asked for as the UI's own page does; 0 is what it is before."""
        status, answer = self.send(
            "POST", "/graphql", JSON, f"Origin: http://127.0.0.1:{self.port}", "Sec-Fetch-Site: same-origin",
            body=json.dumps({"query": QUESTION}),
        )  # fmt: skip
        assert status == 200, answer
        limit: int = json.loads(answer.partition("\r\n\r\n")[2])["data"]["instance"]["concurrencyLimit"]["slotCount"]
        return limit


@contextmanager
def web(home: Path, *options: str) -> Iterator[Web]:
    """The command of the unit, but for its folder, port and workspace."""
    home.mkdir()
    (home / "workspace.yaml").write_text("load_from: []\n")
    (home / "dagster.yaml").write_text("telemetry:\n  enabled: false\n")
    found = re.search(r"^ExecStart=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    words, port = shlex.split(found.group(1)), free_port()
    words[0] = sys.executable
    words[words.index("--port") + 1] = str(port)
    words[words.index("--workspace") + 1] = str(home / "workspace.yaml")
    environment = {**os.environ, "DAGSTER_HOME": str(home), "UI_HOSTS": PUBLIC}
    with (home / "log").open("wb") as log:
        process = subprocess.Popen([*words, *options], env=environment, stdout=log, stderr=log)
        try:
            until = time.monotonic() + 240
            while True:
                try:
                    assert Web(port).send("GET", "/server_info")[0] == 200
                    break
                except OSError:
                    assert process.poll() is None, (home / "log").read_text()
                    assert time.monotonic() < until, (home / "log").read_text()
                    time.sleep(0.1)
            yield Web(port)
        finally:
            process.terminate()
            process.wait(120)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    with web(tmp_path_factory.mktemp("web") / "home") as running:
        yield running
        assert running.limit() == 0, "nothing of all this changed anything"
        status, answer = running.send("POST", "/graphql", JSON, body=BODY)
        assert (status, running.limit()) == (200, 7), f"this does: {answer}"


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.1",
        "127.0.0.1:1",
        "[::1]",
        f"{PUBLIC}:{{port}}",
        "localhost:{port}@evil.example",
        "",
    ],
)
def test_a_foreign_host_is_refused(server: Web, host: str) -> None:
    """DNS rebinding: the page's own name points at 127.0.0.1, so that for the browser it is its own origin."""
    named = host.format(port=server.port)
    origin = f"Origin: http://{named}"
    for method, path, headers in (("GET", "/", ()), ("GET", BY_GET, ()), ("POST", "/graphql", (JSON, origin))):
        status, _ = server.send(method, path, *headers, body=BODY if method == "POST" else "", host=named or " ")
        assert status in {400, 421}, (method, path)
    assert server.send("GET", "/graphql", *UPGRADE, origin, host=named or " ")[0] in {400, 403, 421}


def test_two_hosts_are_refused(server: Web) -> None:
    assert server.send("GET", "/", "Host: evil.example")[0] in {400, 421}


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1.evil.example",
        "null",
        "file://",
        "",
        "http://127.0.0.1:1",
        "http://localhost",
        "http://[",
        f"http://{PUBLIC}.evil",
    ],
)
def test_a_foreign_origin_is_refused(server: Web, origin: str) -> None:
    header = f"Origin: {origin}"
    assert server.send("POST", "/graphql", JSON, header, body=BODY)[0] == 403
    assert server.send("POST", f"/report_asset_materialization/x?{quote(BODY)}", JSON, header, body="{}")[0] == 403
    assert server.send("OPTIONS", "/graphql", header, "Access-Control-Request-Method: POST")[0] == 403
    assert server.send("GET", "/", header)[0] == 403
    status, answer = server.send("GET", "/graphql", *UPGRADE, header)
    assert status == 403, answer
    assert "access-control-allow" not in answer.lower()


@pytest.mark.parametrize(
    "kind",
    [
        None,
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain; x=application/json",
        "application/jsonp",
    ],
)
def test_a_form_changes_nothing_even_where_the_browser_sends_no_origin(server: Web, kind: str | None) -> None:
    """What a page may send anywhere without asking (CORS: simple requests)."""
    headers = [f"Content-Type: {kind}"] if kind else []
    for path in ("/graphql", BY_GET, "/report_asset_materialization/x"):
        assert server.send("POST", path, *headers, body=BODY)[0] == 415


@pytest.mark.parametrize(
    "headers", [(), ("Accept: */*",), ("Accept: image/avif,image/webp,*/*",), ("Accept: application/json",)]
)
@pytest.mark.parametrize("path", [BY_GET, "/graph%71l?query=" + quote(MUTATION), "/graphql"])
def test_get_changes_nothing(server: Web, path: str, headers: tuple[str, ...]) -> None:
    for method in ("GET", "HEAD"):
        assert server.send(method, path, *headers)[0] == 405


def test_get_with_the_method_of_another_one_changes_nothing(server: Web) -> None:
    for method in ("PUT", "PATCH", "DELETE", "QUERY", "TRACE"):
        assert server.send(method, "/graphql", JSON, body=BODY)[0] in {400, 405}
    assert server.send("GET", BY_GET, JSON, "X-HTTP-Method-Override: POST", body=BODY)[0] == 405


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_the_browser_says_of_another_page_counts(server: Web, site: str) -> None:
    says = f"Sec-Fetch-Site: {site}"
    link = (says, "Sec-Fetch-Mode: navigate", "Accept: text/html")
    assert server.send("POST", "/graphql", JSON, says, body=BODY)[0] == 403
    assert server.send("GET", BY_GET, says, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: image")[0] == 403
    assert server.send("GET", "/server_info", says, "Sec-Fetch-Mode: no-cors", "Sec-Fetch-Dest: script")[0] == 403
    assert server.send("GET", "/", *link, "Sec-Fetch-Dest: iframe")[0] == 403
    assert server.send("GET", "/graphql", *UPGRADE, says, "Sec-Fetch-Mode: websocket")[0] == 403
    assert server.send("POST", "/", *link, JSON, "Sec-Fetch-Dest: document", body="{}")[0] == 403
    status, answer = server.send("GET", "/runs", *link, "Sec-Fetch-Dest: document")
    assert status == 200, "a link of a chat or a wiki opens the page"
    assert "x-frame-options: sameorigin" in answer.lower()


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "LOCALHOST:{port}", "[::1]:{port}", PUBLIC])
def test_our_own_pages_and_programs_are_let_in(server: Web, host: str) -> None:
    named = host.format(port=server.port)
    origin = f"Origin: {'https' if named == PUBLIC else 'http'}://{named}"
    question = json.dumps({"query": QUESTION})
    assert server.send("GET", "/", host=named)[0] == 200
    assert server.send("GET", "/graphql", "Accept: text/html", host=named)[0] == 200
    for headers in ((), (origin, "Sec-Fetch-Site: same-origin")):
        assert server.send("POST", "/graphql", JSON, *headers, body=question, host=named)[0] == 200
        assert server.send("GET", "/graphql", *UPGRADE, *headers, host=named)[0] == 101


def test_read_only_changes_nothing_for_anybody(tmp_path: Path) -> None:
    with web(tmp_path / "home", "--read-only") as server:
        _, answer = server.send("POST", "/graphql", JSON, body=BODY)
        assert server.limit() == 0, answer


def test_a_port_that_is_taken_is_a_clear_error(server: Web, tmp_path: Path) -> None:
    options = ["--port", str(server.port), "--workspace", str(tmp_path / "none")]
    command = [sys.executable, "-m", "assets.cli.web", *options]
    done = run_program(command, env={**os.environ, "DAGSTER_HOME": str(tmp_path)}, timeout=60)  # fmt: skip
    assert done.returncode == 1
    assert "--port" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("value", ["*", "https://exports.example", "exports.example/ui", "a b", "exports.example:x"])
def test_a_public_name_that_is_none_is_refused(value: str) -> None:
    assert load_settings({"ui_hosts": "exports.example, 10.0.0.5:8443"}).ui_hosts == (PUBLIC, "10.0.0.5:8443")
    with pytest.raises(SettingsError, match="UI_HOSTS"):
        load_settings({"ui_hosts": value})
