"""A read that is stopped, cut off or in the way ends at once, leaves nothing and says why (DESIGN 3)."""

import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from pipelines.errors import ExtractError, LockContentionError, SourceError, StagingError
from pipelines.export import run_export
from pipelines.settings import Settings
from pipelines.source import ranges, read_range
from pipelines.source.reader import read_query
from tests.exporting import assert_agrees, before_it_reads, export, settings_for, while_it_reads
from tests.integration.kit import (
    ACCEPT_ALL,
    ROW_MARK,
    Background,
    Published,
    assert_no_sessions,
    assert_says,
    make_slow,
    run_sql,
    scalar,
    session,
    stage,
)
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, fill_source, insert_rows, insert_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.standard]

OURS = "FROM pg_stat_activity WHERE application_name LIKE 'lei-exports-%' AND application_name !~ '(watch|cancel)$'"
READERS = f"{OURS} AND state = 'active' AND query LIKE 'COPY %'"
# The sources here take a minute; where no cancel helps a run gives up after 5 s. One that heard has stopped before.
SOON = 4.5
FINGERPRINTS = f"{OURS} AND state = 'active' AND query LIKE '%hash_record_extended%'"


@pytest.fixture
def slow(database: Database, published: Published) -> Settings:
    """Settings of a run that would read for a minute."""
    with database.connect() as connection:
        create_source_tables(connection, id_type="integer PRIMARY KEY")
        rows = [{"id": n, "domain": f"{ROW_MARK}{n}", "status": "success", "batch_id": "b"} for n in range(1000)]
        insert_source(connection, rows, [{"id": n, "domain_id": n, "lei_code": ROW_MARK} for n in range(1000)])
    make_slow(database, 0.06)
    return settings_for(database, published.export_dir, read_connections=2)


def reading(database: Database) -> bool:
    with session(database) as connection:
        return bool(scalar(connection, f"SELECT count(*) = 2 {READERS}"))


def failing(published: Published, settings: Settings, *says: str, kind: type = ExtractError) -> Background:
    """A run in the background that must fail like this."""
    return Background(lambda: published.fails(settings, *says, kind=kind))


def test_queries_that_connectorx_can_not_run(database: Database, capfd: pytest.CaptureFixture[str]) -> None:
    url = SecretStr(database.url)
    for query in (
        "SELECT interval '1 day' AS i",  # panics
        "SELECT ARRAY['2025-01-01'::date] AS d",  # panics
        f"SELECT 1 / (length('{ROW_MARK}') - {len(ROW_MARK)}) AS n",
        f"SELECT '{ROW_MARK}'::text::int AS n",
        "SELECT 1 AS one FROM nowhere",
        "SELECT 'NaN'::numeric AS n",
        "no SQL",
    ):
        with pytest.raises(ExtractError) as caught:
            read_query(url, query, [])
        assert_says(caught.value, "A read from PostgreSQL failed", url=database.url)
    with pytest.raises(ExtractError):
        read_query(
            url, "SELECT 1 AS one", ["BEGIN ISOLATION LEVEL REPEATABLE READ", "SET TRANSACTION SNAPSHOT '0-0-1'"]
        )
    assert database.url not in capfd.readouterr().err


def test_time_beyond_what_can_be_read(database: Database, published: Published) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_rows(connection, "domains", [{"id": 1, "domain": ROW_MARK, "created_at": "294276-12-31 00:00:00"}])
    settings = settings_for(database, published.export_dir)
    published.fails(settings, "domains.created_at", "outside of what can be read", "262142", kind=SourceError)


def test_interrupt_stops_at_once(database: Database, published: Published, slow: Settings) -> None:
    # Tests that a shell without job control started in the background ignore it.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupted(database, published, slow)
    finally:
        signal.signal(signal.SIGINT, before)


def _interrupted(
    database: Database, published: Published, slow: Settings, is_busy: Callable[[Database], bool] = reading
) -> None:
    sent: list[float] = []

    def interrupt() -> None:
        wait_until(lambda: is_busy(database))
        sent.append(time.monotonic())
        os.kill(os.getpid(), signal.SIGINT)

    helper = Background(interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_export(slow, ACCEPT_ALL)
    assert time.monotonic() - sent[0] < SOON
    helper.result()
    assert_no_sessions(database)
    published.is_untouched()


@pytest.mark.parametrize(
    ("who", "says"),
    [
        (READERS, "connection"),
        (f"{OURS} AND query NOT LIKE 'COPY %'", "The connection that holds the snapshot was ended"),
        (OURS, "start the run again"),
    ],
)
def test_connections_ended_by_the_server(
    database: Database, published: Published, slow: Settings, who: str, says: str
) -> None:
    run = failing(published, slow, says)
    wait_until(lambda: reading(database))
    run_sql(database, f"SELECT pg_terminate_backend(pid) {who}")
    started = time.monotonic()
    run.result()
    assert time.monotonic() - started < 4 * SOON
    assert_no_sessions(database)


def fingerprinting(database: Database) -> bool:
    with session(database) as connection:
        return bool(scalar(connection, f"SELECT count(*) = 2 {FINGERPRINTS}"))


@pytest.fixture
def slow_to_compare(database: Database, published: Published) -> Settings:
    """Settings of a run that would take a minute to find out what changed."""
    with database.connect() as connection:
        create_source_tables(connection, id_type="integer PRIMARY KEY")
        rows = [{"id": n, "domain": f"{ROW_MARK}{n}", "status": "success", "batch_id": "b"} for n in range(1000)]
        insert_source(connection, rows, [{"id": n, "domain_id": n, "lei_code": ROW_MARK} for n in range(1000)])
    make_slow(database, 0.06, "%hash_record_extended%")
    return settings_for(database, published.export_dir, read_connections=2)


def test_interrupt_while_both_tables_are_compared(
    database: Database, published: Published, slow_to_compare: Settings
) -> None:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        _interrupted(database, published, slow_to_compare, fingerprinting)
    finally:
        signal.signal(signal.SIGINT, before)


def test_connections_ended_while_both_tables_are_compared(
    database: Database, published: Published, slow_to_compare: Settings
) -> None:
    run = failing(published, slow_to_compare, "PostgreSQL failed while fingerprinting")
    wait_until(lambda: fingerprinting(database))
    run_sql(database, f"SELECT pg_terminate_backend(pid) {FINGERPRINTS}")
    started = time.monotonic()
    run.result()
    assert time.monotonic() - started < 4 * SOON
    assert_no_sessions(database)


def test_gives_way_while_both_tables_are_compared(
    database: Database, published: Published, slow_to_compare: Settings
) -> None:
    run = failing(published, slow_to_compare, "gave way", "tried again", kind=LockContentionError)
    wait_until(lambda: fingerprinting(database))
    run_sql(database, "ALTER TABLE real_domains ADD COLUMN fresh int")
    run.result()
    assert_no_sessions(database)


def test_cancelled_by_somebody(database: Database, published: Published, slow: Settings) -> None:
    run = failing(published, slow, "somebody cancelled the statement", "start the run again")
    wait_until(lambda: reading(database))
    run_sql(database, f"SELECT pg_cancel_backend(pid) {READERS}")
    run.result()
    assert_no_sessions(database)


def test_exporter_lost_between_two_ranges(
    database: Database, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_source(database, *random_rows(1, 300), id_type="integer PRIMARY KEY")
    monkeypatch.setattr(ranges, "RANGE_BYTES", 8192)
    lose_it = f"SELECT pg_terminate_backend(pid) {OURS} AND state = 'idle in transaction'"
    settings = settings_for(database, published.export_dir, read_connections=1)
    listener = while_it_reads(lambda: run_sql(database, lose_it))
    published.fails(settings, "snapshot was", "start the run again", kind=ExtractError, on_progress=listener)
    assert stage(settings)[0].source.relations["domains"].rows == 300


def test_longest_time(database: Database, published: Published, slow: Settings) -> None:
    started = time.monotonic()
    published.fails(
        slow.model_copy(update={"export_max_seconds": 0.8}),
        "The read took too long",
        "EXPORT_MAX_SECONDS = 0.8 s",
        "raise EXPORT_MAX_SECONDS",
        kind=ExtractError,
    )
    assert time.monotonic() - started < 4 * SOON
    assert_no_sessions(database)


def test_longest_time_holds_for_repeated_ids_as_well(
    database: Database, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_source(database, [{"id": n, "domain": "d"} for n in range(100)], [])
    make_slow(database, 0.06, "%HAVING%")
    settings = settings_for(database, published.export_dir, export_max_seconds=2)
    published.fails(settings, "EXPORT_MAX_SECONDS = 2 s", kind=ExtractError)


@pytest.mark.parametrize(
    "statement",
    [
        "ALTER TABLE real_domains ADD COLUMN fresh int",
        "LOCK TABLE gleif_candidates IN ACCESS EXCLUSIVE MODE",
        "TRUNCATE real_gleif_candidates",
    ],
)
def test_gives_way(database: Database, published: Published, slow: Settings, statement: str) -> None:
    run = failing(published, slow, "gave way", "tried again", kind=LockContentionError)
    wait_until(lambda: reading(database))
    with session(database) as connection:
        started = time.monotonic()
        with connection.transaction():
            connection.execute(statement)
        assert time.monotonic() - started < 2 * SOON
    run.result()
    assert_no_sessions(database)


def test_gives_way_for_a_partition_and_succeeds_then(
    database: Database, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        run_sql(
            database,
            "CREATE TABLE parts (LIKE domains) PARTITION BY HASH (id)",
            "CREATE TABLE part_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
            "CREATE TABLE part_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
            "DROP TABLE domains",
            "ALTER TABLE parts RENAME TO domains",
        )
        insert_source(connection, *random_rows(1, 100))
    monkeypatch.setattr(ranges, "RANGE_BYTES", 8192)
    settings = settings_for(database, published.export_dir, read_connections=1)
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'TRUNCATE%'"
    seconds: list[float] = []

    def truncate() -> None:
        with session(database) as connection:
            started = time.monotonic()
            connection.execute("TRUNCATE part_1")
            seconds.append(time.monotonic() - started)

    truncations: list[Background] = []

    def begin_it() -> None:
        truncations.append(Background(truncate))
        with session(database) as connection:
            wait_until(lambda: scalar(connection, waiting))

    listener = before_it_reads(begin_it)
    published.fails(settings, "gave way", kind=LockContentionError, on_progress=listener)
    truncations[0].result()
    assert seconds[0] < 2 * SOON
    assert_agrees(database, export(settings, ACCEPT_ALL))


def test_rows_that_do_not_come_are_missed(
    database: Database, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_source(database, *random_rows(1, 50))
    real = read_range.read_query

    def drop_a_row(url: SecretStr, query: str, setup: list[str]) -> Any:
        table = real(url, query, setup)
        return table.slice(1) if '"domain_id"' not in query else table

    monkeypatch.setattr(read_range, "read_query", drop_a_row)
    settings = settings_for(database, published.export_dir)
    published.fails(settings, "domains was not read whole", "50 rows", "49 rows", kind=ExtractError)


def test_reads_are_not_repeated_after_one_failed(
    database: Database, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill_source(database, *random_rows(1, 300))
    monkeypatch.setattr(ranges, "RANGE_BYTES", 8192)
    calls: list[str] = []

    def fail(_: SecretStr, query: str, __: list[str]) -> Any:
        calls.append(query)
        return read_query(SecretStr(database.url), "SELECT interval '1 s' AS i", [])

    monkeypatch.setattr(read_range, "read_query", fail)
    published.fails(settings_for(database, published.export_dir, read_connections=1), kind=ExtractError)
    assert len(calls) == 1


def _limited(limit: int, function: Callable[[], Any]) -> Any:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        return function()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_staging_that_can_not_be_written(database: Database, published: Published) -> None:
    fill_source(database, *random_rows(1, 400))
    settings = settings_for(database, published.export_dir)
    _limited(
        60_000, lambda: published.fails(settings, "can't be written", "make room", "EXPORT_DIR", kind=StagingError)
    )
    assert_no_sessions(database)


def test_staging_folder_that_can_not_be_made(database: Database, tmp_path: Path) -> None:
    export_dir = tmp_path / "export"
    export_dir.mkdir()
    (export_dir / "staging").write_text("a file")
    with pytest.raises(StagingError) as caught:
        stage(settings_for(database, export_dir))
    assert_says(caught.value, "staging can't be written", "EXPORT_DIR", url=database.url)
