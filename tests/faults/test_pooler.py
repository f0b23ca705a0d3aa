"""A PgBouncer before the source: session pooling works, transaction pooling is found out before anything is set."""

import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from pipelines.errors import SourceError
from pipelines.export import run_export
from tests.exporting import assert_agrees, export, settings_for
from tests.faults.kit import need
from tests.integration.kit import assert_says, scalar, session
from tests.oracle.server import Server, account, embedded_programs, new_folder, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.ports import free_port
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with new_server(embedded_programs()) as server:
        with server.database().connect() as connection:
            create_source_tables(connection)
            insert_source(connection, *random_rows(3, 100))
        yield server


@contextmanager
def pgbouncer(server: Server, *settings: str) -> Iterator[int]:
    """A PgBouncer before a server; its port."""
    program = need("pgbouncer")
    port = free_port()
    with new_folder() as folder:
        lines = [
            "[databases]", f"postgres = host=127.0.0.1 port={server.port}", "[pgbouncer]", "auth_type = any",
            f"listen_port = {port}", "listen_addr = 127.0.0.1", "unix_socket_dir =", *settings,
        ]  # fmt: skip
        lines[1] += " user=postgres"
        (folder / "pgbouncer.ini").write_text("\n".join(lines) + "\n", encoding="utf-8")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([program, folder / "pgbouncer.ini"], stdout=log, stderr=log, **account())
        try:
            wait_for(port)
            yield port
        finally:
            process.kill()
            process.wait()


def wait_for(port: int) -> None:
    until = time.monotonic() + 120
    while True:
        try:
            psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            assert time.monotonic() < until
            time.sleep(0.05)
        else:
            return


def fill_pool(server: Server, port: int, size: int) -> None:
    """Have so many statements run at once: as many of the server's processes are in the pool then."""
    pooled = "SELECT count(*) FROM pg_stat_activity WHERE client_addr = '127.0.0.1'"
    blocked = f"{pooled} AND wait_event = 'advisory'"
    with ExitStack() as open_ones, session(server.database()) as holder, session(server.database()) as looker:
        holder.execute("SELECT pg_advisory_lock(1)")
        for _ in range(size):
            one = psycopg.connect(host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True)
            open_ones.enter_context(closing(one)).pgconn.send_query(b"SELECT pg_advisory_xact_lock_shared(1)")
        wait_until(lambda: scalar(looker, blocked) == size)
        holder.execute("SELECT pg_advisory_unlock(1)")
        wait_until(lambda: scalar(looker, blocked) == 0)
        assert scalar(looker, pooled) == size


def test_session_pooling_works(server: Server, tmp_path: Path) -> None:
    with pgbouncer(server, "pool_mode = session", "default_pool_size = 8") as port:
        settings = settings_for(server.over_tcp(port), tmp_path, read_connections=2)
        assert_agrees(server.database(), export(settings))


def test_session_pooling_with_too_few_connections_is_told(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.source.pooler._ANSWER_SECONDS", 1.0)
    with pgbouncer(server, "pool_mode = session", "default_pool_size = 2") as port:
        settings = settings_for(server.over_tcp(port), tmp_path, read_connections=2)
        with pytest.raises(SourceError) as caught:
            run_export(settings)
    assert_says(caught.value, "did not answer", "READ_CONNECTIONS")


@pytest.mark.parametrize("round_robin", [0, 1])
@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_other_pooling_is_found_before_anything_is_set(
    server: Server, tmp_path: Path, mode: str, round_robin: int
) -> None:
    settings_of_pool = [f"pool_mode = {mode}", "default_pool_size = 3", f"server_round_robin = {round_robin}"]
    with pgbouncer(server, *settings_of_pool) as port:
        fill_pool(server, port, 3)
        for connections in (1, 2, 3):
            started = time.monotonic()
            with pytest.raises(SourceError) as caught:
                run_export(settings_for(server.over_tcp(port), tmp_path, read_connections=connections))
            assert_says(caught.value, "share one server process", "transaction or statement mode", "session mode")
            assert time.monotonic() - started < 8, "a pool that is full is given up after 10 s"
        # Not prepared: psycopg prepares what it asks for the sixth time, and the pool may pass that to another process.
        with psycopg.connect(
            host="127.0.0.1", port=port, user="postgres", dbname="postgres", autocommit=True, prepare_threshold=None
        ) as somebody:
            for _ in range(6):
                row = somebody.execute("SHOW lock_timeout").fetchone()
                assert row == ("0",), "our settings must not stay behind in the pool"
