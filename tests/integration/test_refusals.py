"""What is said does not depend on the language of the server: decided by SQLSTATE, and asked by doctor as by a run."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest

from pipelines.build.diagnosis import diagnose
from pipelines.errors import ExportError, ExtractError, SourceError
from pipelines.export import run_export
from pipelines.settings import Settings, load_settings
from tests.exporting import export, settings_for
from tests.faults.kit import debian_programs
from tests.integration.kit import assert_says, role, run_sql, scalar, session
from tests.oracle.postgres import Database
from tests.oracle.server import Server, embedded_programs, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.standard]

LANGUAGES = ("C", pytest.param("de_DE.utf8", marks=pytest.mark.extended))


@pytest.fixture(scope="module", params=LANGUAGES)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that asks for a password, and speaks English or German."""
    hba = ["host all refused 127.0.0.1/32 reject", "host all all 127.0.0.1/32 scram-sha-256"]
    with pytest.MonkeyPatch.context() as patch:
        programs, settings = embedded_programs(), []
        if request.param != "C":
            programs, settings = debian_programs(), [f"lc_messages = '{request.param}'"]
            patch.setenv("LOCPATH", str(_locales(tmp_path_factory.mktemp("locales"), request.param)))
        context = new_server(programs, [*settings, "superuser_reserved_connections = 3"], hba)
        running = context.__enter__()
    try:
        with running.database().connect() as connection:
            create_source_tables(connection, id_type="integer PRIMARY KEY")
            insert_source(connection, *random_rows(4, 40))
        run_sql(
            running.database(),
            "CREATE ROLE reader LOGIN PASSWORD 'right'",
            "CREATE ROLE refused LOGIN PASSWORD 'right'",
            "CREATE ROLE asleep NOLOGIN PASSWORD 'right'",
            "CREATE ROLE few LOGIN PASSWORD 'right' CONNECTION LIMIT 1",
            "GRANT SELECT ON domains, gleif_candidates TO PUBLIC",
        )
        yield running
    finally:
        context.__exit__(None, None, None)


def _locales(folder: Path, name: str) -> Path:
    """A folder for LOCPATH in which the C locale has the name of another one: only its messages are translated."""
    compiled = Path("/usr/lib/locale/C.utf8")
    messages = list(Path("/usr/share/locale/de/LC_MESSAGES").glob("postgres-*.mo"))
    if not compiled.is_dir() or not messages:
        pytest.skip("needs Debian's locale C.utf8 and the translations of its postgresql")
    shutil.copytree(compiled, folder / name)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755)
    for parent in folder.parents:  # PostgreSQL is another account
        if parent.stat().st_uid == os.geteuid():
            parent.chmod(parent.stat().st_mode | 0o011)
    return folder


def at(server: Server, login: str, database: str = "postgres", query: str = "") -> Database:
    url = f"postgresql://{login}@127.0.0.1:{server.port}/{database}{query}"
    return Database(server.database().conninfo, url, database)


def refused(settings: Settings, *says: str, kind: type[ExportError] = SourceError) -> ExportError:
    """A run fails like this at once, and doctor says the same."""
    started = time.monotonic()
    with pytest.raises(ExportError) as caught:
        run_export(settings)
    assert time.monotonic() - started < 8
    assert type(caught.value) is kind
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    assert_says(caught.value, *says, url=url)
    reported = [finding for finding in diagnose(settings) if finding.verdict == "failed"]
    assert len(reported) == 1, reported
    assert caught.value.what in reported[0].found
    assert caught.value.found in reported[0].found
    assert reported[0].fix == caught.value.fix
    return caught.value


def test_the_server_speaks_the_language(server: Server, request: pytest.FixtureRequest) -> None:
    with session(server.database()) as connection, pytest.raises(psycopg.errors.DivisionByZero) as caught:
        connection.execute("SELECT 1 / 0")
    german = "lc_messages = 'de_DE" in (server.data / "postgresql.conf").read_text()
    assert ("Division durch Null" in str(caught.value)) == german


@pytest.mark.parametrize(
    ("login", "database", "says"),
    [
        ("reader:wrong", "postgres", ["authentication failed", "check user and password"]),
        ("nobody:right", "postgres", ["authentication failed"]),
        ("reader", "postgres", ["the server asks for a password", "~/.pgpass"]),
        ("reader:right", "nowhere", ["the database does not exist", "check its name"]),
        ("refused:right", "postgres", ["the server refuses this client", "pg_hba.conf"]),
        ("asleep:right", "postgres", ["may not log in", "ALTER ROLE"]),
    ],
)
def test_a_login_that_is_refused(server: Server, tmp_path: Path, login: str, database: str, says: list[str]) -> None:
    refused(settings_for(at(server, login, database), tmp_path, read_connections=1), *says)


def test_no_connect_privilege(server: Server, tmp_path: Path) -> None:
    run_sql(server.database(), "CREATE DATABASE closed", "REVOKE CONNECT ON DATABASE closed FROM PUBLIC")
    refused(settings_for(at(server, "reader:right", "closed"), tmp_path), "no CONNECT privilege", "GRANT CONNECT")
    run_sql(server.database(), "ALTER DATABASE closed ALLOW_CONNECTIONS false")
    refused(settings_for(at(server, "reader:right", "closed"), tmp_path), "takes no connections", "ALLOW_CONNECTIONS")
    run_sql(server.database(), "DROP DATABASE closed")


def test_a_full_server_may_have_room_at_the_next_try(server: Server, tmp_path: Path) -> None:
    settings = settings_for(at(server, "reader:right"), tmp_path, read_connections=1)
    with ExitStack() as held:
        for _ in range(40):
            try:
                held.enter_context(server.database().connect())
            except psycopg.OperationalError:
                break
        else:
            pytest.fail("the server is never full")
        refused(settings, "no free connection (53300)", "max_connections", kind=ExtractError)
    with session(server.database()) as look:  # a server process is there for a moment after its client has gone
        others = "SELECT count(*) = 1 FROM pg_stat_activity WHERE backend_type = 'client backend'"
        wait_until(lambda: scalar(look, others))
    few = settings_for(at(server, "few:right"), tmp_path, read_connections=1)
    refused(few, "no free connection (53300)", "CONNECTION LIMIT", kind=ExtractError)


def test_options_of_the_session_that_the_server_refuses(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options, says in (("-c%20nothing%3D1", "does not know"), ("-c%20work_mem%3Dx", "does not take")):
        database = at(server, "reader:right", query=f"?options={options}")
        refused(settings_for(database, tmp_path), says, "PGOPTIONS")
    monkeypatch.setenv("PGOPTIONS", "-c log_statement=all")
    refused(settings_for(at(server, "reader:right"), tmp_path), "may not set", "PGOPTIONS")


def test_a_lock_that_somebody_holds(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.source.exported_snapshot.LOCK_TIMEOUT_MS", 200)
    with session(server.database()) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE domains IN ACCESS EXCLUSIVE MODE")
        refused(settings_for(at(server, "reader:right"), tmp_path), "holds the table exclusively", kind=ExtractError)


def test_a_function_that_was_revoked_is_named(server: Server, tmp_path: Path) -> None:
    for function in ("pg_control_system()", "pg_export_snapshot()", "pg_relation_size(regclass, text)"):
        run_sql(server.database(), f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        name = function.partition("(")[0]
        refused(
            settings_for(at(server, "reader:right"), tmp_path),
            f"the function {name}",
            f"GRANT EXECUTE ON FUNCTION {name}",
        )
        run_sql(server.database(), f"GRANT EXECUTE ON FUNCTION {function} TO PUBLIC")


def test_row_level_security_below_a_view(server: Server, tmp_path: Path) -> None:
    run_sql(
        server.database(),
        "CREATE SCHEMA hidden",
        "CREATE TABLE hidden.below AS TABLE domains",
        "ALTER TABLE hidden.below ENABLE ROW LEVEL SECURITY",
        "CREATE VIEW hidden.domains AS TABLE hidden.below",
        "CREATE VIEW hidden.gleif_candidates AS TABLE gleif_candidates",
        "CREATE ROLE owner NOLOGIN",
        "GRANT USAGE ON SCHEMA hidden TO PUBLIC",
        "GRANT SELECT ON ALL TABLES IN SCHEMA hidden TO PUBLIC",
        "ALTER VIEW hidden.domains OWNER TO owner",
    )
    settings = settings_for(at(server, "reader:right"), tmp_path, source_schema="hidden")
    refused(settings, "row-level security")


def test_a_value_that_the_advised_view_can_not_cast(server: Server, tmp_path: Path) -> None:
    """Named and not tried again; once it was tried for 20 s, and then called a timestamp."""
    run_sql(
        server.database(),
        "CREATE SCHEMA casting",
        "CREATE TABLE casting.large AS SELECT id::int8, domain_id, lei_code, legal_name FROM gleif_candidates",
        "INSERT INTO casting.large VALUES (2147483648, 1, 'X', 'Y')",
        "CREATE VIEW casting.domains AS TABLE domains",
        "CREATE VIEW casting.gleif_candidates AS"
        " SELECT id, domain_id, lei_code, legal_name, id::int4 AS rank_position FROM casting.large",
        "GRANT USAGE ON SCHEMA casting TO PUBLIC",
        "GRANT SELECT ON ALL TABLES IN SCHEMA casting TO PUBLIC",
    )
    settings = settings_for(at(server, "reader:right"), tmp_path, source_schema="casting", read_connections=1)
    with pytest.raises(SourceError) as caught:
        run_export(settings)
    assert_says(caught.value, "gleif_candidates.rank_position", "22003", "the expression of the view")


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("?schema=public", ["the unknown setting schema", "SOURCE_SCHEMA"]),
        ("?pgbouncer=true&connection_limit=1", ["the unknown setting connection_limit, pgbouncer"]),
        ("?sslmode=maybe", ["a value that libpq refuses: sslmode in DATABASE_URL"]),
        ("?keepalives_idle=soon&service=nowhere", ["DATABASE_URL names the service nowhere"]),
        ("?target_session_attrs=standby", ["not meet what is asked of it by target_session_attrs in DATABASE_URL"]),
        ("?require_auth=md5", ["not meet what is asked of it by require_auth in DATABASE_URL"]),
        ("?sslmode=require", ["the server has no TLS"]),
        ("?port=5432,5432", ["port has 2 entries and host 1, in DATABASE_URL", "one for each host"]),
        ("?host=127.0.0.1&hostaddr=127.0.0.1,127.0.0.1", ["hostaddr has 2 entries and host 1"]),
        ("?host=127.0.0.1,127.0.0.1&port=1,2,3", ["port has 3 entries and host 2"]),
    ],
)
def test_a_setting_of_the_url_is_named(server: Server, tmp_path: Path, query: str, says: list[str]) -> None:
    refused(settings_for(at(server, "reader:right", query=query), tmp_path), *says)


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u@db..example/app",
        "postgresql://u:caf%E9@127.0.0.1/app",
        "postgresql://u@127.0.0.1,.example/app?port=1",
        f"postgresql://u@{'x' * 64}.example/app",
    ],
)
def test_names_and_values_that_can_not_be_are_our_error(tmp_path: Path, url: str) -> None:
    settings = load_settings({"database_url": url, "export_dir": tmp_path, "read_connections": 1})
    with pytest.raises(SourceError) as caught:
        run_export(settings)
    assert "caf" not in str(caught.value)
    assert "example" not in str(caught.value)


def test_a_variable_of_the_environment_is_named(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(at(server, "reader:right"), tmp_path, read_connections=1)
    for name, value, says in (
        ("PGSERVICE", "nowhere", "PGSERVICE names the service nowhere"),
        ("PGSSLMODE", "require", "libpq also took PGSSLMODE from the environment"),
        ("PGDATESTYLE", "German", "another DateStyle"),
        ("PGREQUIREAUTH", "scram-sha-256", "require_auth in PGREQUIREAUTH"),
        ("PGTARGETSESSIONATTRS", "standby", "target_session_attrs in PGTARGETSESSIONATTRS"),
    ):
        with monkeypatch.context() as patch:
            patch.setenv(name, value)
            refused(settings, says)


def test_white_space_around_the_url_is_none_of_it(server: Server, tmp_path: Path) -> None:
    """As of a file that holds a URL and a line break; once it was `the database does not exist`."""
    url = f" {at(server, 'reader:right').url}\n"
    settings = load_settings({"database_url": url, "export_dir": tmp_path, "read_connections": 1})
    assert [finding for finding in diagnose(settings) if finding.verdict == "failed"] == []


def test_what_else_a_run_asks_before_it_reads(server: Server, tmp_path: Path) -> None:
    """Each is asked by doctor too, and answered in the same words."""
    settings = settings_for(at(server, "reader:right"), tmp_path / "exports", read_connections=1)
    with role(server.database()) as nobody:
        run_sql(server.database(), f"ALTER ROLE {nobody} PASSWORD 'right'", "REVOKE SELECT ON domains FROM PUBLIC")
        refused(settings_for(at(server, f"{nobody}:right"), tmp_path / "new"), "no SELECT privilege on column id")
        run_sql(server.database(), "GRANT SELECT ON domains TO PUBLIC")
    refused(settings.model_copy(update={"source_schema": "nowhere"}), "nowhere.domains is missing")
    export(settings)
    run_sql(server.database(), "CREATE SCHEMA other", "CREATE VIEW other.domains AS TABLE domains")
    run_sql(server.database(), "CREATE VIEW other.gleif_candidates AS TABLE gleif_candidates")
    run_sql(server.database(), "GRANT USAGE ON SCHEMA other TO PUBLIC")
    run_sql(server.database(), "GRANT SELECT ON ALL TABLES IN SCHEMA other TO PUBLIC")
    other = settings.model_copy(update={"source_schema": "other"})
    with pytest.raises(ExportError) as caught:
        run_export(other)
    reported = [finding for finding in diagnose(other) if finding.verdict == "failed"]
    assert [finding.topic for finding in reported] == ["same source"]
    assert caught.value.found in reported[0].found
