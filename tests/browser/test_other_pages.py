"""A page of somebody else, in a real browser on this machine, starts nothing in the Dagster UI; the UI itself does."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser.kit import PATIENCE_MS, Server, open_browser, serve_ui
from tests.ports import answering

pytestmark = [pytest.mark.orchestration, pytest.mark.extended]

# A source that is not there: a run that is started fails at once, and the sensor starts none.
NOBODY = "postgresql://nobody@127.0.0.1:1/nowhere"
# For the browser alone: a name that an attacker has pointed at this machine.
EVIL = "evil.example"
LAUNCH = """mutation { launchRun(executionParams: {
    mode: "default",
    selector: {repositoryLocationName: "lei-exports", repositoryName: "__repository__", jobName: "export"},
    runConfigData: {ops: {staging: {config: {accept_shrink: true, accept_new_source: true}}}}
}) { __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message } } }"""
# All that a page can do without being let in: it can't read an answer, but does not need to.
ATTACK = """async ([graphql, mutation]) => {
    const body = JSON.stringify({query: mutation}), byGet = graphql + '?query=' + encodeURIComponent(mutation);
    const image = new Image(), seen = [];
    const loaded = new Promise(end => { image.onload = image.onerror = end; });
    image.src = byGet;
    await loaded;
    for (const options of [
        {mode: 'no-cors'}, {mode: 'no-cors', method: 'POST', body},
        {mode: 'no-cors', method: 'POST', body: new FormData()},
        {method: 'POST', body}, {method: 'POST', body, headers: {'Content-Type': 'application/json'}},
    ])
        for (const url of [graphql, byGet]) {
            try { seen.push((await fetch(url, options)).status); } catch (error) { seen.push(String(error)); }
        }
    seen.push(await new Promise(end => {
        const wire = new WebSocket(graphql.replace('http', 'ws'), 'graphql-ws');
        wire.onopen = () => end('open');
        wire.onerror = () => end('refused');
    }));
    const frame = document.createElement('iframe');
    frame.name = 'hidden';
    document.body.append(frame);
    const form = document.createElement('form');
    Object.assign(form, {method: 'POST', action: byGet, enctype: 'text/plain', target: 'hidden'});
    document.body.append(form);
    const answered = new Promise(end => { frame.onload = end; });
    form.submit();
    await answered;
    return seen;
}"""


@contextmanager
def other_server() -> Iterator[int]:
    """Port of a server with a page that is not ours."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<!doctype html><title>Free cake</title><body>")

    with answering(Handler) as port:
        yield port


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serve_ui(NOBODY, tmp_path_factory.mktemp("ui")) as running:
        running.stop_schedule()
        yield running


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    with open_browser(f"--host-resolver-rules=MAP {EVIL} 127.0.0.1") as browser:
        opened = browser.new_page(viewport={"width": 1400, "height": 900})
        opened.set_default_timeout(PATIENCE_MS)
        yield opened


def test_another_page_starts_no_run_and_the_ui_does(server: Server, page: Page) -> None:
    graphql, port = f"{server.url}/graphql", server.url.rpartition(":")[2]
    with other_server() as other_port:
        for address in (f"http://{EVIL}:{other_port}", f"http://localhost:{other_port}"):
            page.goto(address)
            seen = page.evaluate(ATTACK, [graphql, LAUNCH])
            assert server.runs() == []
            assert seen[-1] == "refused"
            assert not any(status == 200 for status in seen), seen
    # The same name as ours for the browser, so that it is one origin (DNS rebinding): not even a page is answered.
    answer = page.goto(f"http://{EVIL}:{port}/")
    assert answer is not None
    assert answer.status == 421
    assert page.evaluate(
        "async mutation => (await fetch('/graphql', {method: 'POST', body: JSON.stringify({query: mutation}),"
        " headers: {'Content-Type': 'application/json'}})).status",
        LAUNCH,
    ) == 421  # fmt: skip
    assert server.runs() == []

    page.goto(f"{server.url}/asset-groups")
    button = page.get_by_role("button", name="Materialize all")
    expect(button).to_be_enabled(timeout=PATIENCE_MS)
    button.click()
    _, status = server.wait_for_run(1)
    assert status == "FAILURE", "its source is not there"


def test_read_only_starts_nothing_for_anybody(tmp_path: Path) -> None:
    with serve_ui(NOBODY, tmp_path, "--read-only") as server:
        assert server.ask(LAUNCH)["launchRun"]["__typename"] == "UnauthorizedError"
        assert server.runs() == []
