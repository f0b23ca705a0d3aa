"""The role of docs/security.md can export, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from pipelines.errors import LockContentionError
from pipelines.export import run_export
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.kit import Background, run_sql, scalar, session
from tests.oracle.postgres import Database
from tests.oracle.server import Server, embedded_programs, new_server
from tests.oracle.source import fill_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.standard]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
BLOCK = re.compile(r"^```postgresql\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server with a database `app`, and the role as the document makes it."""
    with new_server(embedded_programs(), hba=["host all all 127.0.0.1/32 scram-sha-256"]) as server:
        run_sql(server.database(), "CREATE DATABASE app")
        app = server.database("app")
        fill_source(app, *random_rows(9, 80), id_type="integer PRIMARY KEY")
        blocks = BLOCK.findall(DOCUMENT.read_text(encoding="utf-8"))
        assert len(blocks) == 2
        run_sql(app, *blocks)
        yield server


@pytest.fixture
def reader(server: Server) -> Database:
    """The database as that role reaches it."""
    url = f"postgresql://lei_exports:choose%20one@127.0.0.1:{server.port}/app"
    return Database(f"host=127.0.0.1 port={server.port} dbname=app user=lei_exports password='choose one'", url, "app")


def test_it_exports(server: Server, reader: Database, tmp_path: Path) -> None:
    assert_agrees(server.database("app"), export(settings_for(reader, tmp_path, read_connections=8)))


@pytest.mark.extended
def test_it_gives_way(server: Server, reader: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The watch sees who waits, and may cancel the reads, without a privilege of its own."""
    app = server.database("app")
    run_sql(
        app,
        "CREATE SCHEMA slow",
        "CREATE VIEW slow.domains AS SELECT d.* FROM domains d, LATERAL (SELECT pg_sleep(0.3) OFFSET 0 * d.id) s",
        "CREATE VIEW slow.gleif_candidates AS TABLE gleif_candidates",
        "GRANT USAGE ON SCHEMA slow TO lei_exports",
        "GRANT SELECT ON ALL TABLES IN SCHEMA slow TO lei_exports",
    )
    run = Background(lambda: run_export(settings_for(reader, tmp_path, source_schema="slow")))
    with session(app) as looker:
        reading = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY %domain_hash%' AND usename = 'lei_exports'"
        )
        wait_until(lambda: scalar(looker, reading))
        looker.execute("SET lock_timeout = '15s'")
        looker.execute("ALTER TABLE domains ADD COLUMN fresh int")
        looker.execute("ALTER TABLE domains DROP COLUMN fresh")
    with pytest.raises(LockContentionError):
        run.result()


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO domains (id) VALUES (-1)",
        "UPDATE domains SET domain = 'x'",
        "DELETE FROM gleif_candidates",
        "TRUNCATE gleif_candidates",
        "SELECT * FROM domains FOR UPDATE",
        "BEGIN; LOCK TABLE domains IN ROW EXCLUSIVE MODE",
        "CREATE TABLE public.mine (id int)",
        "CREATE TEMPORARY TABLE mine (id int)",
        "CREATE SCHEMA mine",
        "ALTER TABLE domains ADD COLUMN mine int",
        "DROP TABLE domains",
        "CREATE INDEX ON domains (id)",
        "CREATE FUNCTION public.mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "COPY domains FROM PROGRAM 'true'",
        "COPY domains TO '/tmp/lei-stolen'",
        "SELECT pg_read_file('/etc/passwd')",
        "SELECT rolpassword FROM pg_authid",
        "SELECT * FROM other",
        "CREATE ROLE mine",
        "ALTER ROLE lei_exports SUPERUSER",
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'postgres'",
    ],
)
def test_it_can_do_nothing_else(server: Server, reader: Database, statement: str) -> None:
    run_sql(server.database("app"), "CREATE TABLE IF NOT EXISTS other (id int)")
    with session(server.database("app")), session(reader) as connection:
        connection.execute("SET default_transaction_read_only = off")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(statement)  # type: ignore[call-overload]


def test_it_reads_only_by_default(reader: Database) -> None:
    with session(reader) as connection, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        connection.execute("SELECT lo_create(0)")
