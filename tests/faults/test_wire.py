"""A wire that is cut half-way, or on which nobody answers any more, ends a run with a clear error (DESIGN 3)."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from pipelines.errors import ExtractError, SourceError
from pipelines.export import run_export
from pipelines.settings import Settings
from pipelines.snapshots.opening import current_snapshot
from pipelines.snapshots.verification import verify_snapshot
from pipelines.source import connection as connection_module
from pipelines.source import extraction, pooler, read_range
from tests.exporting import assert_agrees, export, settings_for
from tests.faults.kit import Wire
from tests.integration.kit import ACCEPT_ALL, assert_no_sessions, assert_says, scalar, session
from tests.oracle.server import Server, embedded_programs, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with new_server(embedded_programs()) as server:
        with server.database().connect() as connection:
            create_source_tables(connection)
            insert_source(connection, *random_rows(2, 1200))
        yield server


@pytest.fixture
def wire(server: Server) -> Iterator[Wire]:
    with Wire(server.port) as wire:
        yield wire


@pytest.fixture(scope="module")
def published(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a run that reads the server itself; a snapshot is published."""
    folder = tmp_path_factory.mktemp("published")
    settings = settings_for(server.over_tcp(), folder, segment_size=1000, read_connections=2)
    export(settings)
    return settings


def through(wire: Wire, server: Server, settings: Settings, **changes: Any) -> Settings:
    url = settings_for(server.over_tcp(wire.port), settings.export_dir).database_url
    return settings.model_copy(update={"database_url": url, **changes})


def fails(server: Server, settings: Settings, *says: str, kind: type[Exception] = ExtractError) -> float:
    """The run fails like this and leaves nothing; seconds that it took."""
    before = current_snapshot(settings.export_dir)
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        run_export(settings, ACCEPT_ALL, full_refresh=True)
    seconds = time.monotonic() - started
    assert_says(caught.value, *says)
    after = current_snapshot(settings.export_dir)
    assert before is not None
    assert after is not None
    assert after.manifest.id == before.manifest.id
    verify_snapshot(after)
    assert len(list((settings.export_dir / "staging").glob("*/"))) == 1
    assert_no_sessions(server.database())
    return seconds


def test_cut_half_way(server: Server, wire: Wire, published: Settings) -> None:
    for count, kind, says in (
        (1_000, ExtractError, "made when tried once more"),
        (40_000, ExtractError, "the connection broke"),
        (400_000, ExtractError, "the connection broke"),
    ):
        wire.cut_after(count)
        assert fails(server, through(wire, server, published), says, kind=kind) < 30
    assert_agrees(server.database(), export(through(wire, server, published), ACCEPT_ALL, full_refresh=True))


@pytest.mark.parametrize("moment", ["reading", "ids", "preparing"])
def test_nobody_answers_any_more(
    server: Server, wire: Wire, published: Settings, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """No keepalive finds this: the kernel of what stands between still acknowledges."""
    threads = threading.active_count()
    settings = through(wire, server, published, export_max_seconds=2.0)
    monkeypatch.setattr("pipelines.engine.flow.STOP_SECONDS", 1.0)
    monkeypatch.setattr("pipelines.source.exported_snapshot.TIMEOUT_MARGIN_S", 1)
    if moment == "reading":
        silent_before(monkeypatch, wire, read_range, "read_query")
        says = "EXPORT_MAX_SECONDS = 2 s"
    elif moment == "ids":
        silent_before(monkeypatch, wire, extraction, "_check_ids")
        says = "EXPORT_MAX_SECONDS = 2 s"
    else:
        silent_before(monkeypatch, wire, connection_module, "cutting_off_after")
        silent_before(monkeypatch, wire, pooler, "cutting_off_after")
        monkeypatch.setattr(pooler, "_ANSWER_SECONDS", 1.0)
        says = "did not answer"
    kind = SourceError if moment == "preparing" else ExtractError
    before = current_snapshot(settings.export_dir)
    started = time.monotonic()
    with pytest.raises(kind) as caught:
        run_export(settings, ACCEPT_ALL, full_refresh=True)
    assert time.monotonic() - started < 25
    assert_says(caught.value, says)
    assert current_snapshot(settings.export_dir) == before
    wire.cut()
    with session(server.database()) as looker:
        ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lei-exports-%'"
        wait_until(lambda: scalar(looker, ours) == 0)
    wait_until(lambda: threading.active_count() <= threads + 2)


def silent_before(monkeypatch: pytest.MonkeyPatch, wire: Wire, module: Any, name: str) -> None:
    real = getattr(module, name)

    def silent(*arguments: Any, **options: Any) -> Any:
        wire.fall_silent()
        return real(*arguments, **options)

    monkeypatch.setattr(module, name, silent)
