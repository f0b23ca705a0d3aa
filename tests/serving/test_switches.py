"""200 clients while snapshots are switched: every answer is of one snapshot, and old files are let go."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.reading.snapshots import current_snapshot
from tests.exporting import export, settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables
from tests.serving.kit import Client, Served, export_path, served

pytestmark = [pytest.mark.integration, pytest.mark.standard]

_CLIENTS = 200
_VERSIONS = 4
_DOMAINS = 40
_FILL = f"""
INSERT INTO domains (id, domain, status, batch_id, company_name)
SELECT i, 'd' || i || '.example', 'success', 'b' || i % 2, 'version 0' FROM generate_series(1, {_DOMAINS}) AS i;
INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name, rank_position)
SELECT i, i, lpad(i::text, 20, '0'), 'version 0' FROM generate_series(1, {_DOMAINS}) AS i
""".replace("'version 0' FROM generate_series(1, 40) AS i\n", "'version 0', 1 FROM generate_series(1, 40) AS i\n")

Texts = Callable[[Any], list[str]]
# Path, and the texts of its answer that say of which version the rows are.
QUESTIONS: list[tuple[str, Texts]] = [
    ("/domains/7/candidates", lambda told: [row["legalName"] for row in told]),
    ("/domains?name=d7.example", lambda told: [told["companyName"], *(row["companyName"] for row in told["history"])]),
    (f"/entities/{7:020d}", lambda told: [told["legalName"]]),
    ("/search?q=example&limit=100", lambda told: [row["companyName"] for row in told["items"]]),
    (
        export_path("b1"),
        lambda told: [
            text
            for row in told
            for text in (row["company_name"], *(candidate["legal_name"] for candidate in row["candidates"]))
        ],
    ),
]


def _publish(database: Database, export_dir: Path, version: int) -> str:
    with database.connect() as connection:
        connection.execute(f"UPDATE domains SET company_name = 'version {version}'".encode())
        connection.execute(f"UPDATE gleif_candidates SET legal_name = 'version {version}'".encode())
    return export(settings_for(database, export_dir, keep_snapshots=1, keep_hours=0)).manifest.id


class _Clients:
    """Clients that ask one question after the other until they are stopped."""

    def __init__(self, server: Served) -> None:
        self.seen: set[tuple[str, str]] = set()
        self.answers = 0
        self.failed: list[object] = []
        self._server = server
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(_CLIENTS)]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        try:
            with Client(self._server.port) as client:
                while not self._stop.is_set():
                    number += 1
                    self._ask(client, *QUESTIONS[number % len(QUESTIONS)])
        except Exception as error:  # noqa: BLE001  all of them are findings
            self.failed.append(error)

    def _ask(self, client: Client, path: str, texts_of: Texts) -> None:
        answer = client.ask(path)
        if answer.status != 200:
            self.failed.append((path, answer))
            return
        texts = set(texts_of(json.loads(answer.body)))
        with self._lock:
            self.answers += 1
            if len(texts) != 1:
                self.failed.append((path, "rows of several snapshots", texts))
            self.seen |= {(answer.headers["snapshot-id"], text) for text in texts}


def test_without_requests_the_old_snapshot_is_let_go_too(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        for statement in _FILL.split(";"):
            connection.execute(statement.encode())
    _publish(database, tmp_path, 1)
    with served(tmp_path) as server:
        assert server.ask(export_path("b1")).status == 200
        published = _publish(database, tmp_path, 2)
        until = time.monotonic() + 30
        while not all(published in name for name in server.open_files() if str(tmp_path / "snapshots") in name):
            assert time.monotonic() < until, server.open_files()
            time.sleep(0.1)


def _held(server: Served, folder: Path) -> set[str]:
    return {name for name in server.open_files() if str(folder) in name}


@pytest.mark.extended
def test_every_answer_is_of_one_snapshot(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        for statement in _FILL.split(";"):
            connection.execute(statement.encode())
    published = {_publish(database, tmp_path, 1): "version 1"}
    with served(tmp_path, API_EXPORT_WAIT_SECONDS="60", API_QUERY_SECONDS="60", API_MEMORY_MB="64") as server:
        clients = _Clients(server)
        clients.start()
        try:
            for version in range(2, _VERSIONS + 1):
                published[_publish(database, tmp_path, version)] = f"version {version}"
                until = time.monotonic() + 60
                while f"version {version}" not in {text for _, text in set(clients.seen)}:
                    assert clients.failed == []
                    assert time.monotonic() < until, "the new snapshot is not picked up"
                    time.sleep(0.05)
        finally:
            clients.stop()
        assert clients.failed == []
        assert clients.answers > _CLIENTS
        # Each text was seen with the id of its own snapshot, and all of them were seen.
        assert clients.seen == set(published.items())
        current = current_snapshot(tmp_path)
        assert current is not None
        assert server.ask("/ready").headers["snapshot-id"] == current.manifest.id
        until = time.monotonic() + 20
        while any(not name.startswith(str(current.folder)) for name in _held(server, tmp_path)):
            assert time.monotonic() < until, _held(server, tmp_path)
            time.sleep(0.1)
        assert _held(server, tmp_path)
