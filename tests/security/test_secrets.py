"""No secret and no row content in what a run writes besides its tables: planted, then searched for everywhere."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql

from pipelines.errors import SourceError
from pipelines.export import run_export
from tests.exporting import settings_for
from tests.forking import run_command
from tests.integration.kit import run_sql
from tests.oracle.expected import DOMAINS, GLEIF_CANDIDATES
from tests.oracle.postgres import Database
from tests.oracle.server import Server, embedded_programs, new_server
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]

MARK = "Zq7Xw9Vk"
# What stands behind its marks is looked for alone. So long, no compressed text has it by chance.
TAIL = "Kj8vT5xQ2mRn"
PASSWORD = f"Pw4@ #:/%'\"{TAIL}"
# What tables are in, and a staging while it lasts.
TABLES = {".parquet", ".duckdb", ".arrow"}
# Vocabulary and batch ids may be told: the report counts their rows.
TOLD = {"status", "batch_id", "jurisdiction", "entity_status", "registration_status"}


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with new_server(embedded_programs(), hba=["host all all 127.0.0.1/32 scram-sha-256"]) as server:
        with server.database().connect() as connection:
            role = sql.SQL("CREATE ROLE reader LOGIN PASSWORD {}").format(sql.Literal(PASSWORD))
            connection.execute(role)
        yield server


@pytest.fixture
def source(server: Server) -> Iterator[Database]:
    """Rows with the mark in every text; good ones, and ones of every reason to be rejected."""
    name = f"db{os.urandom(4).hex()}"
    run_sql(server.database(), f"CREATE DATABASE {name}")
    database = server.database(name)
    with database.connect() as connection:
        create_source_tables(connection)
        text = {name: f"{MARK}-{name}" for name, kind in DOMAINS.items() if kind == "text" and name not in TOLD}
        rows = [{**text, "id": n, "status": "success", "batch_id": "b1", "domain": f"{MARK}{n}.x"} for n in range(50)]
        rows += [{**text, "id": 50, "status": None, "batch_id": "b1"}, {**text, "id": 51, "status": "failed"}]
        texts = [name for name, kind in GLEIF_CANDIDATES.items() if kind == "text" and name not in TOLD]
        text = {name: f"{MARK}-{name}" for name in texts}
        candidates = [{**text, "id": n, "domain_id": n % 60} for n in range(120)]
        candidates += [{**text, "id": 120, "domain_id": 1, "lei_code": None}, {**text, "id": 121, "domain_id": None}]
        insert_source(connection, rows, candidates)
        connection.execute("GRANT SELECT ON domains, gleif_candidates TO reader")
    yield database
    run_sql(server.database(), f"DROP DATABASE {name} WITH (FORCE)")


def url_of(server: Server, database: Database) -> str:
    return f"postgresql://reader:{quote(PASSWORD, safe='')}@127.0.0.1:{server.port}/{database.name}"


def assert_clean(what: str, content: bytes) -> None:
    for secret in (PASSWORD, quote(PASSWORD, safe=""), quote(PASSWORD), TAIL, MARK, MARK.lower(), "postgresql://"):
        for encoding in ("utf-8", "utf-16-le"):
            position = content.find(secret.encode(encoding))
            assert position < 0, f"{what}: {content[max(0, position - 200) : position + 40]!r}"


@pytest.mark.orchestration
def test_a_succeeding_and_a_failing_run(server: Server, source: Database, tmp_path: Path) -> None:
    export_dir = tmp_path / "exports"
    settings = {
        "DATABASE_URL": url_of(server, source),
        "EXPORT_DIR": str(export_dir),
        "DAGSTER_HOME": str(tmp_path / "home"),
    }
    first = run_command(["run"], tmp_path, settings)
    assert first.returncode == 0, first.stderr
    run_sql(source, "INSERT INTO domains SELECT * FROM domains WHERE id = 7")
    second = run_command(["run"], tmp_path, settings)
    assert second.returncode == 1
    assert "id 7 more than once" in second.stderr
    assert_clean("the terminal", (first.stdout + first.stderr + second.stdout + second.stderr).encode())
    looked_at = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in TABLES]
    names = {path.name for path in looked_at}
    assert {"manifest.json", "last_checked.json", "staging.json", "table.json", "dagster.yaml", "runs.db"} <= names
    for path in looked_at:
        assert_clean(str(path), path.read_bytes())
    held = b"".join(path.read_bytes() for path in export_dir.rglob("*.arrow"))
    assert MARK.encode() in held, "the mark was in what was read"


@pytest.mark.parametrize(
    "view",
    [
        "SELECT (CASE WHEN id < 40 THEN id ELSE domain::int END) AS id, domain, status, batch_id FROM t",
        "SELECT id, repeat(domain, CASE WHEN id = 49 THEN 1 / (id - 49) ELSE 1 END) AS domain, status, batch_id FROM t",
        "SELECT id, domain, status, batch_id, now() + (domain || ' days')::interval AS created_at FROM t",
    ],
)
def test_errors_of_the_server_that_quote_values(
    server: Server, source: Database, tmp_path: Path, view: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """connectorx's own lines on standard error are looked at too."""
    run_sql(
        source, "ALTER TABLE domains RENAME TO t", f"CREATE VIEW domains AS {view}", "GRANT SELECT ON domains TO reader"
    )
    with pytest.raises(psycopg.Error), source.connect() as connection:
        connection.execute("SELECT * FROM domains").fetchall()
    settings = settings_for(Database("", url_of(server, source), source.name), tmp_path)
    with pytest.raises(SourceError) as caught:
        run_export(settings)
    printed = capfd.readouterr()
    assert_clean("the error", f"{caught.value!r} {caught.value.__cause__!r}".encode())
    assert_clean("the terminal", (printed.out + printed.err).encode())
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert_clean(str(path), path.read_bytes())
