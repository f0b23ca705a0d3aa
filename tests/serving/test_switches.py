"""200 clients while snapshots are switched: every answer is of one snapshot, and old files are let go."""

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.snapshots.opening import published_snapshot
from tests.exporting import export, settings_for
from tests.integration.kit import run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.serving.kit import Client, Served, export_path, served
from tests.waiting import wait_until

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
    ("/domains/7/candidates", lambda reported: [row["legalName"] for row in reported]),
    (
        "/domains?name=d7.example",
        lambda reported: [reported["companyName"], *(row["companyName"] for row in reported["history"])],
    ),
    (f"/entities/{7:020d}", lambda reported: [reported["legalName"]]),
    ("/search?q=example&limit=100", lambda reported: [row["companyName"] for row in reported["items"]]),
    (
        export_path("b1"),
        lambda reported: [
            text
            for row in reported
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
    fill_source(database)
    run_sql(database, *_FILL.split(";"))
    _publish(database, tmp_path, 1)
    with served(tmp_path) as server:
        assert server.ask(export_path("b1")).status == 200
        published = _publish(database, tmp_path, 2)
        snapshots = str(tmp_path / "snapshots")
        wait_until(
            lambda: all(published in name for name in server.open_files() if snapshots in name),
            reason=server.open_files,
        )


def _remove(export_dir: Path) -> Callable[[], None]:
    target = (export_dir / "current").readlink()
    (export_dir / "current").unlink()
    return lambda: (export_dir / "current").symlink_to(target)


def _replace_by(make: Callable[[Path], object]) -> Callable[[Path], Callable[[], None]]:
    """Something else in the place of `current`, and the way back."""

    def change(export_dir: Path) -> Callable[[], None]:
        put_back = _remove(export_dir)
        link = export_dir / "current"
        make(link)

        def restore() -> None:
            link.rmdir() if link.is_dir() and not link.is_symlink() else link.unlink()
            put_back()

        return restore

    return change


def _take_away(export_dir: Path) -> Callable[[], None]:
    """As a disk that is not mounted."""
    elsewhere = export_dir.rename(export_dir.with_name("elsewhere"))
    return lambda: elsewhere.rename(export_dir) and None


LOSSES: dict[str, Callable[[Path], Callable[[], None]]] = {
    "removed": _remove,
    "dangling": _replace_by(lambda link: link.symlink_to("snapshots/nowhere")),
    "a folder": _replace_by(Path.mkdir),
    "a file": _replace_by(Path.touch),
    "a link to itself": _replace_by(lambda link: link.symlink_to("current")),
    "no export folder": _take_away,
}


def test_without_current_what_is_served_stays(database: Database, tmp_path: Path) -> None:
    fill_source(database)
    run_sql(database, *_FILL.split(";"))
    export_dir = tmp_path / "exports"
    published = _publish(database, export_dir, 1)

    def wait_for(server: Served, *, is_current: bool, how: str) -> None:
        until = time.monotonic() + 120
        while True:
            answer = server.ask("/ready")
            assert (answer.status, answer.headers["snapshot-id"]) == (200, published), how
            if json.loads(answer.body)["is_current"] == is_current:
                return
            assert time.monotonic() < until, how

    with served(export_dir) as server:
        for how, lose in LOSSES.items():
            wait_for(server, is_current=True, how=how)
            restore = lose(export_dir)
            wait_for(server, is_current=False, how=how)
            assert server.ask("/domains/7/candidates").status == 200, how
            assert server.ask(export_path("b1")).status == 200, how
            restore()
        wait_for(server, is_current=True, how="restored")
        newer = _publish(database, export_dir, 2)
        assert server.ask("/ready").headers["snapshot-id"] == newer


def _held(server: Served, folder: Path) -> set[str]:
    return {name for name in server.open_files() if str(folder) in name}


@pytest.mark.extended
def test_every_answer_is_of_one_snapshot(database: Database, tmp_path: Path) -> None:
    fill_source(database)
    run_sql(database, *_FILL.split(";"))
    published = {_publish(database, tmp_path, 1): "version 1"}
    with served(tmp_path, API_EXPORT_WAIT_SECONDS="180", API_QUERY_SECONDS="180", API_MEMORY_MB="64") as server:
        clients = _Clients(server)
        clients.start()
        try:
            for version in range(2, _VERSIONS + 1):
                published[_publish(database, tmp_path, version)] = f"version {version}"
                until = time.monotonic() + 300
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
        current = published_snapshot(tmp_path)
        assert server.ask("/ready").headers["snapshot-id"] == current.manifest.id
        folder = str(current.folder)
        wait_until(
            lambda: all(name.startswith(folder) for name in _held(server, tmp_path)),
            reason=lambda: _held(server, tmp_path),
        )
        assert _held(server, tmp_path)
