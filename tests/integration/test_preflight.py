"""What a source that can't be read gets: a clear error within a moment, before any row is read (DESIGN 7)."""

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from pydantic import SecretStr

from pipelines.errors import ContractError, ExtractError, SourceError
from pipelines.source import pooler
from pipelines.source.catalog import check_server
from pipelines.source.connection import SourceAddress, connect
from pipelines.source.reader import read_query
from pipelines.source.reader_url import reader_url
from tests.exporting import assert_agrees, export, settings_for
from tests.guard.kit import forget_scans, passes
from tests.integration.kit import (
    PASSWORD,
    ROW_MARK,
    Published,
    as_role,
    assert_no_sessions,
    assert_says,
    role,
    run_sql,
    scalar,
    session,
    stage,
)
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import create_source_tables, insert_rows, insert_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.fast]

# Milliseconds when the machine is idle. A lock is waited for 5 s, a connection longer.
SOON = 4.5
CLIENTS = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"


@pytest.fixture
def source(database: Database) -> Database:
    """Both tables with a few rows."""
    with database.connect() as connection:
        create_source_tables(connection)
        insert_source(
            connection,
            [{"id": number, "domain": f"{ROW_MARK}.x", "status": "success", "batch_id": "b"} for number in range(20)],
            [{"id": number, "domain_id": number, "lei_code": "X", "legal_name": ROW_MARK} for number in range(20)],
        )
    return database


def fails_soon(published: Published, url: str, *says: str, kind: type = SourceError, **overrides: object) -> None:
    database = Database("", url, "")
    started = time.monotonic()
    published.fails(settings_for(database, published.export_dir, **overrides), *says, kind=kind)
    assert time.monotonic() - started < SOON


# No connection


@pytest.mark.parametrize(
    ("url", "says"),
    [
        (f"postgresql://u:{quote(PASSWORD, safe='')}@127.0.0.1:1/d", ["nothing listens there", "check host and port"]),
        ("postgresql://u:secret@no-such-host.invalid/d", ["the host name is unknown", "check the host"]),
        ("postgresql://u@%2Fno%2Fsuch%2Ffolder/d", ["no server at that socket"]),
        ("postgresql://u:pa%ss@127.0.0.1/d", ["DATABASE_URL can't be read", "percent-encode"]),
        ("postgresql://u:secret@127.0.0.1:port/d", ["DATABASE_URL"]),
        ("postgresql://u:secret@127.0.0.1/d?no_such_option=1", ["DATABASE_URL can't be read", "no_such_option"]),
        ("postgresql://u:secret@127.0.0.1:99999/d", ["a port that is not known"]),
        ("postgresql://u:secret@127.0.0.1/d?sslmode=maybe", ["sslmode"]),
        ("postgresql://u:p@ss/word@host/d", ["the host name is unknown", "percent-encoded"]),
    ],
)
def test_no_server(published: Published, url: str, says: list[str]) -> None:
    fails_soon(published, url, *says)


def test_unknown_database_or_role(published: Published, source: Database) -> None:
    fails_soon(published, source.url + "_not", "the database does not exist", "check its name")
    fails_soon(published, as_role(source, "no_such_role").url, "the role does not exist", "check the user")


@contextmanager
def with_password(
    tcp: tuple[Cluster, int], name: str, password: str, *attributes: str
) -> Iterator[tuple[Database, str]]:
    """A database with rows, and the URL by which a role with that password reaches it over TCP."""
    cluster, port = tcp
    with cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            insert_source(connection, *random_rows(5, 40))
            role_name = sql.Identifier(name)
            connection.execute(
                sql.SQL("CREATE ROLE {} LOGIN PASSWORD {} {}").format(
                    role_name,
                    sql.Literal(password),
                    sql.SQL(" ".join(attributes)),  # type: ignore[arg-type]
                )
            )
            connection.execute(sql.SQL("GRANT SELECT ON domains, gleif_candidates TO {}").format(role_name))
        try:
            login = f"{quote(name, safe='')}:{quote(password, safe='')}"
            yield database, f"postgresql://{login}@127.0.0.1:{port}/{database.name}"
        finally:
            with session(database) as connection:
                connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role_name))


def test_wrong_password(published: Published, tcp: tuple[Cluster, int]) -> None:
    with with_password(tcp, "reader", "right") as (_, url):
        wrong = url.replace(":right@", f":{quote(PASSWORD, safe='')}@")
        fails_soon(published, wrong, "authentication failed", "check user and password")
        fails_soon(published, url.replace(":right@", "@"), "asks for a password")
        fails_soon(published, url.replace("//reader:", "//nobody_at_all:"), "authentication failed")
        fails_soon(published, url.replace("//reader:", "//refused:"), "refuses this client", "pg_hba.conf")
        fails_soon(published, url + "?sslmode=require", "the server has no TLS", "sslmode=disable")


@pytest.mark.parametrize("password", [PASSWORD, "%41", "plain", "a b", "'", '"', "pass%2Fword", "\t:@/?#[]"])
def test_password_of_any_letters(tcp: tuple[Cluster, int], tmp_path: Path, password: str) -> None:
    with with_password(tcp, 'Reader\'s "röle"@#', password) as (database, url):
        settings = settings_for(Database("", url, ""), tmp_path)
        if password == PASSWORD:
            assert_agrees(database, export(settings))
            written = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
            assert PASSWORD.encode() not in written
            assert quote(PASSWORD, safe="").encode() not in written
        else:
            assert stage(settings)[0].source.relations["domains"].rows == 40


def test_password_from_a_file_and_options_reach_the_readers(
    tcp: tuple[Cluster, int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with with_password(tcp, "reader", PASSWORD) as (database, url):
        escaped = PASSWORD.replace("\\", "\\\\").replace(":", "\\:")
        file = tmp_path / "pgpass"
        file.write_text(f"*:*:*:reader:{escaped}\n", encoding="utf-8")
        file.chmod(0o600)
        monkeypatch.setenv("PGPASSFILE", str(file))
        host = url[url.index("@") :]
        record, _ = stage(settings_for(Database("", f"postgresql://reader{host}", ""), tmp_path / "export"))
        assert record.source.relations["domains"].rows == 40
        options = f"postgresql://reader{host}?options=-c%20work_mem%3D77kB".replace("127.0.0.1", "localhost")
        address = SourceAddress(SecretStr(options), is_sample=False)
        with connect(address, "lei-test") as connection:
            url_of_readers = reader_url(connection, address, "lei-test")
            read = read_query(url_of_readers, "SELECT current_setting('work_mem') AS m", [])
        assert read.to_pydict() == {"m": ["77kB"]}
        assert database.name in url


def test_no_free_connection(published: Published, tcp: tuple[Cluster, int]) -> None:
    with with_password(tcp, "reader", "right", "CONNECTION LIMIT 3") as (database, url):
        full = {"kind": ExtractError}  # it may pass by itself
        fails_soon(published, url, "no free connection", "READ_CONNECTIONS", read_connections=4, **full)
        assert_no_sessions(database)  # those of that run count until the server has seen that they are gone
        record, _ = stage(settings_for(Database("", url, ""), published.export_dir.parent / "e", read_connections=1))
        assert record.source.relations["domains"].rows == 40
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(database.connect(user="postgres"))
                except psycopg.OperationalError:
                    break
            fails_soon(published, url, "no free connection", **full)
        with session(database) as looker:
            wait_until(lambda: scalar(looker, CLIENTS) == 1)
        with ExitStack() as held:
            for _ in range(5):
                held.enter_context(database.connect())
            # Three are kept for superusers: 12 - 5 - 3 = 4 are left.
            with session(database) as connection:
                connection.execute("ALTER ROLE reader CONNECTION LIMIT -1")
            fails_soon(published, url, "no free connection", read_connections=8, **full)


def test_pooler_that_shares_a_server_process(
    published: Published, source: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A PgBouncer is not to be had everywhere: what it would show is the same process id twice.
    monkeypatch.setattr(pooler, "backend_pid", lambda _: 4711)
    fails_soon(published, source.url, "share one server process", "session mode")


def test_server_that_is_too_old() -> None:
    class Info:
        server_version = 130_014

    class Connection:
        info = Info()

    with pytest.raises(SourceError) as caught:
        check_server(Connection())  # type: ignore[arg-type]
    assert_says(caught.value, "too old", "version 14 or newer", "version 13.14")


# No privilege


def test_privileges_are_named(published: Published, source: Database) -> None:
    with role(source) as name:
        url = as_role(source, name).url
        fails_soon(
            published, url, "public.domains can't be read", "no SELECT privilege on column id;", "GRANT SELECT ON"
        )
        run_sql(source, f"GRANT SELECT ON domains TO {name}")
        fails_soon(published, url, "public.gleif_candidates can't be read", "no SELECT privilege on column lei_code")
        columns = [row for row in _columns(source, "gleif_candidates") if row != "jurisdiction"]
        run_sql(source, f"GRANT SELECT ({', '.join(columns)}) ON gleif_candidates TO {name}")
        fails_soon(published, url, "Found: no SELECT privilege on column jurisdiction. Fix: GRANT SELECT ON")
        run_sql(source, f"GRANT SELECT ON gleif_candidates TO {name}", "REVOKE USAGE ON SCHEMA public FROM PUBLIC")
        fails_soon(published, url, "Source table public.domains can't be reached", 'GRANT USAGE ON SCHEMA "public"')
        run_sql(source, f'REVOKE CONNECT ON DATABASE "{source.name}" FROM PUBLIC')
        fails_soon(published, url, "no CONNECT privilege", "GRANT CONNECT")
        run_sql(source, f'GRANT CONNECT ON DATABASE "{source.name}" TO PUBLIC', f"ALTER ROLE {name} NOLOGIN")
        fails_soon(published, url, "may not log in")


def _columns(database: Database, table: str) -> list[str]:
    with session(database) as connection:
        return [
            row[0]
            for row in connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0", (table,)
            )
        ]


def test_row_level_security(published: Published, source: Database, tmp_path: Path) -> None:
    run_sql(source, "ALTER TABLE gleif_candidates ENABLE ROW LEVEL SECURITY")
    with role(source) as name:
        run_sql(source, f"GRANT SELECT ON domains, gleif_candidates TO {name}")
        url = as_role(source, name).url
        fails_soon(published, url, "public.gleif_candidates has row-level security", "BYPASSRLS")
        run_sql(source, f"ALTER ROLE {name} BYPASSRLS")
        assert stage(settings_for(as_role(source, name), tmp_path))[0].source.relations["gleif_candidates"].rows == 20
        # Below a view it shows only when rows are asked for.
        run_sql(
            source,
            f"ALTER ROLE {name} NOBYPASSRLS",
            "ALTER TABLE gleif_candidates RENAME TO below",
            "CREATE VIEW gleif_candidates WITH (security_invoker) AS SELECT * FROM below",
            f"GRANT SELECT ON gleif_candidates TO {name}",
        )
        fails_soon(published, url, "privilege", "row-level security")


def test_missing_table(published: Published, source: Database) -> None:
    run_sql(source, "DROP TABLE gleif_candidates", "CREATE INDEX gleif_candidates ON domains (id)")
    fails_soon(published, source.url, "Source table public.gleif_candidates is missing", "SOURCE_SCHEMA")
    run_sql(source, "DROP TABLE domains")
    fails_soon(published, source.url, "Source table public.domains is missing")
    assert_no_sessions(source)


# Ids


@pytest.mark.parametrize("table", ["domains", "gleif_candidates"])
def test_row_without_id(published: Published, source: Database, table: str) -> None:
    insert_null = {"id": None, "domain": ROW_MARK, "status": "s", "batch_id": "b"}
    with source.connect() as connection:
        insert_rows(connection, table, [insert_null if table == "domains" else {"id": None, "domain_id": 1}])
    settings = settings_for(source, published.export_dir)
    published.fails(settings, f"{table} has rows without id", "rows with NULL", kind=ContractError)
    # A unique index has nothing against NULL.
    run_sql(source, f"CREATE UNIQUE INDEX ON {table} (id)")
    published.fails(settings, f"{table} has rows without id", kind=ContractError)


@pytest.mark.parametrize("table", ["domains", "gleif_candidates"])
@pytest.mark.parametrize(
    "index",
    [
        "",
        "CREATE INDEX ON {} (id)",
        "CREATE UNIQUE INDEX ON {} (id) WHERE id <> 7",
        "CREATE UNIQUE INDEX ON {} ((id + ctid_like)) ",
        "CREATE UNIQUE INDEX ON {} (id, ctid_like)",
        "CREATE UNIQUE INDEX ON {} (ctid_like) INCLUDE (id)",
    ],
)
def test_repeated_id(published: Published, source: Database, table: str, index: str) -> None:
    run_sql(
        source,
        f"INSERT INTO {table} SELECT * FROM {table} WHERE id = 7",
        f"ALTER TABLE {table} ADD COLUMN ctid_like int GENERATED ALWAYS AS IDENTITY",
        *([index.format(table)] if index else []),
    )
    settings = settings_for(source, published.export_dir)
    published.fails(settings, f"{table} repeats ids", "id 7 more than once", "primary key", kind=ContractError)


@pytest.mark.parametrize("table", ["domains", "gleif_candidates"])
def test_id_repeated_in_a_child_of_a_table_with_a_key(published: Published, source: Database, table: str) -> None:
    run_sql(
        source,
        f"ALTER TABLE {table} ADD PRIMARY KEY (id)",
        f"CREATE TABLE child () INHERITS ({table})",
        f"INSERT INTO child SELECT * FROM {table} WHERE id = 7",
    )
    published.fails(settings_for(source, published.export_dir), f"{table} repeats ids", "id 7 more", kind=ContractError)


def test_unique_index_is_believed(source: Database, tmp_path: Path) -> None:
    """What has one is not scanned for repeated ids, and its first and last id (a tenth of 20 rows) come from it."""
    run_sql(source, "ALTER TABLE domains ADD PRIMARY KEY (id)")
    forget_scans(source)
    stage(settings_for(source, tmp_path))
    fingerprints_and_read = 2
    scans = passes(source)
    assert scans.domains == pytest.approx(fingerprints_and_read + 0.1)
    assert scans.gleif_candidates == fingerprints_and_read + 2


# Defaults of server, database and role


def test_defaults_of_the_server_change_nothing(source: Database, tmp_path: Path) -> None:
    with source.connect() as connection:
        version = connection.info.server_version
    defaults = {
        "idle_in_transaction_session_timeout": "'150ms'",
        "statement_timeout": "'300ms'",
        "lock_timeout": "'10ms'",
        "idle_session_timeout": "'400ms'",
        "default_transaction_isolation": "'serializable'",
        "default_transaction_deferrable": "on",
        "TimeZone": "'Asia/Kathmandu'",
        "DateStyle": "'German, DMY'",
        "client_encoding": "'LATIN1'",
        "search_path": "''",
        "extra_float_digits": "'-15'",
        "enable_tidscan": "off",
        **({"transaction_timeout": "'350ms'"} if version >= 170_000 else {}),
    }
    # Slow enough that each of the short times would be over.
    run_sql(
        source,
        "INSERT INTO domains (id, domain, status, batch_id, created_at) VALUES (99, 'é', 's', 'b', '2025-02-03 04:05')",
        "ALTER TABLE domains RENAME TO t",
        "CREATE VIEW domains AS SELECT t.* FROM t, LATERAL (SELECT pg_sleep(0.02) WHERE t.id >= 0 OFFSET 0) s",
        *[f'ALTER DATABASE "{source.name}" SET {name} = {value}' for name, value in defaults.items()],
    )
    snapshot = export(settings_for(source, tmp_path))
    run_sql(source, *[f'ALTER DATABASE "{source.name}" RESET {name}' for name in defaults])
    # In a session without them: it waits for locks of the run's sessions, which end a moment after it.
    run_sql(source, "CREATE OR REPLACE VIEW public.domains AS SELECT * FROM public.t")
    assert_agrees(source, snapshot)


def test_table_locked_by_somebody_else(published: Published, source: Database) -> None:
    with session(source) as holder:
        holder.execute("BEGIN")
        holder.execute("LOCK TABLE gleif_candidates IN ACCESS EXCLUSIVE MODE")
        started = time.monotonic()
        published.fails(
            settings_for(source, published.export_dir), "a lock within 5 s", "exclusively", kind=ExtractError
        )
        assert 4.5 < time.monotonic() - started < 20
        assert scalar(holder, "SELECT count(*) FROM gleif_candidates") == 20
