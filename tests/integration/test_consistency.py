"""The export is one instant of the database, whatever others write meanwhile (DESIGN 3.1)."""

import random
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from pipelines.contracts.tables import published_tables
from pipelines.snapshots.opening import Snapshot
from pipelines.source import preflight, ranges
from tests.exporting import assert_agrees, before_it_reads, export, settings_for, while_it_reads
from tests.integration.kit import run_sql, scalar, session
from tests.oracle.compare import assert_formats
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.standard]


class Writer(threading.Thread):
    """Inserts, updates, moves and deletes rows of both tables, a commit each, and vacuums, until it is stopped."""

    def __init__(self, database: Database, seed: int) -> None:
        super().__init__(daemon=True)
        self._database = database
        self._chance = random.Random(seed)  # noqa: S311
        self._stopped = threading.Event()
        self.commits = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            with session(self._database) as connection:
                while not self._stopped.wait(0.001):
                    self._write(connection)
                    self.commits += 1
        except BaseException as error:  # noqa: BLE001
            self.error = error

    def stop(self) -> None:
        self._stopped.set()
        self.join(60)
        assert not self.is_alive()
        assert self.error is None

    def _write(self, connection: psycopg.Connection[Any]) -> None:
        number = self._chance.randrange(1, 3000)
        kind = self._chance.randrange(100)
        if kind == 0:
            # Truncation would wait for the run's locks, 5 s long, and the writer would write nothing meanwhile.
            connection.execute(
                f"VACUUM (TRUNCATE false) {self._chance.choice(['domains', 'gleif_candidates'])}".encode()
            )
        elif kind < 25:
            # Both tables in one commit: half of it would show as an orphan.
            connection.execute(
                sql.SQL(
                    "WITH d AS (INSERT INTO domains (id, domain, status, batch_id) "
                    "SELECT max(id) + 1, 'new' || max(id), 'success', 'new' FROM domains RETURNING id) "
                    "INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name, rank_position) "
                    "SELECT (SELECT max(id) FROM gleif_candidates) + n, d.id, 'NEW' || n, 'N', n "
                    "FROM d, generate_series(1, 3) n"
                )
            )
        elif kind < 50:
            connection.execute(
                "UPDATE gleif_candidates SET domain_id = (SELECT min(id) FROM domains WHERE id >= %s) "
                "WHERE id BETWEEN %s AND %s",
                (self._chance.randrange(1, 900), number, number + 5),
            )
        elif kind < 65:
            connection.execute(
                "UPDATE domains SET company_name = repeat('x', %s), status = 'pending' WHERE id %% 97 = %s",
                (number, number % 97),
            )
        elif kind < 80:
            connection.execute("DELETE FROM gleif_candidates WHERE id %% 499 = %s", (number % 499,))
        elif kind < 90:
            with connection.transaction():
                connection.execute("DELETE FROM domains WHERE id = %s", (number,))
                connection.execute("DELETE FROM gleif_candidates WHERE domain_id = %s", (number,))
        else:
            connection.execute(
                "UPDATE gleif_candidates SET rank_position = nullif(rank_position, 7) %% 9 + 1 WHERE id %% 61 = %s",
                (number % 61,),
            )


class Instant:
    """A connection of the test's own in the snapshot of a run: the one that the server has exported."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: psycopg.Connection[Any] | None = None

    def join(self) -> None:
        """To be called while a run has its snapshot."""
        self.close()
        with session(self._database) as look:
            exported = scalar(look, "SELECT pg_ls_dir('pg_snapshots')")
        self._connection = self._database.connect(autocommit=True)
        self._connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self._connection.execute(sql.SQL("SET TRANSACTION SNAPSHOT {}").format(sql.Literal(exported)))

    def agrees(self, snapshot: Snapshot) -> None:
        assert self._connection is not None
        assert_formats(self._connection, snapshot.folder, published_tables(include_full_data=False))

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()


@pytest.fixture
def instant(database: Database) -> Iterator[Instant]:
    with closing(Instant(database)) as instant:
        yield instant


@pytest.mark.parametrize(("seed", "rows"), [(1, 600), (2, 150)])
def test_a_writer_changes_nothing(  # noqa: PLR0917
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: Instant, seed: int, rows: int
) -> None:
    fill_source(database, *random_rows(seed, rows), id_type="integer PRIMARY KEY" if seed == 1 else "integer")
    monkeypatch.setattr(ranges, "RANGE_BYTES", 8192 if rows > 300 else 3 * 8192)
    writer = Writer(database, seed)
    commits: list[int] = []

    def wait_for_a_commit() -> None:
        before = writer.commits
        wait_until(lambda: writer.commits > before or not writer.is_alive())
        commits.append(writer.commits)

    join, wait = before_it_reads(instant.join), while_it_reads(wait_for_a_commit)
    writer.start()
    snapshot = export(
        settings_for(database, tmp_path, segment_size=100), on_progress=lambda message: (join(message), wait(message))
    )
    writer.stop()
    assert max(commits) - min(commits) >= 5
    assert len(set(commits)) >= 5
    instant.agrees(snapshot)
    before = {name: relation.rows for name, relation in snapshot.manifest.source.relations.items()}
    # And now is another instant.
    snapshot = export(settings_for(database, tmp_path, segment_size=100, min_rows_pct=0))
    assert_agrees(database, snapshot)
    assert before != {name: relation.rows for name, relation in snapshot.manifest.source.relations.items()}


@pytest.mark.parametrize(
    "statements",
    [
        ["TRUNCATE domains, gleif_candidates"],
        ["TRUNCATE gleif_candidates", "INSERT INTO gleif_candidates (id, domain_id) VALUES (1, 1)"],
        ["ALTER TABLE domains DROP COLUMN company_name", "ALTER TABLE domains ADD COLUMN fresh int"],
        ["ALTER TABLE domains ALTER COLUMN confidence_score TYPE smallint USING 1"],
        ["VACUUM FULL gleif_candidates"],
    ],
)
def test_what_is_committed_right_before_the_snapshot_is_in_it(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: Instant, statements: list[str]
) -> None:
    fill_source(database, *random_rows(4, 60))
    real = preflight.find_relations
    wanted = list(statements)

    def change_first(*arguments: Any, **options: Any) -> Any:
        relations = real(*arguments, **options)
        while wanted:  # after the pre-flight has looked, before the transaction begins
            run_sql(database, wanted.pop(0))
        return relations

    monkeypatch.setattr(preflight, "find_relations", change_first)
    snapshot = export(settings_for(database, tmp_path), on_progress=before_it_reads(instant.join))
    assert_agrees(database, snapshot)
    instant.agrees(snapshot)


def test_materialized_view_refreshed_between_snapshot_and_lock(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instant: Instant
) -> None:
    fill_source(database, *random_rows(6, 60))
    for table in ("domains", "gleif_candidates"):
        run_sql(
            database,
            f"ALTER TABLE {table} RENAME TO t_{table}",
            f"CREATE MATERIALIZED VIEW {table} AS SELECT * FROM t_{table}",
        )
    real = preflight.connect
    begun: list[str] = []

    def connect(*arguments: Any) -> Any:
        connection = real(*arguments)
        execute = connection.execute

        def refresh_before(query: Any, *more: Any, **options: Any) -> Any:
            text = query.decode() if isinstance(query, bytes) else query
            text = text if isinstance(text, str) else text.as_string(connection)
            if text.startswith("BEGIN"):
                begun.append(text)
            if text == 'SELECT FROM "public"."gleif_candidates" LIMIT 0' and len(begun) == 1:
                run_sql(database, "DELETE FROM t_gleif_candidates WHERE id % 2 = 0")
                run_sql(database, "REFRESH MATERIALIZED VIEW gleif_candidates")
            return execute(query, *more, **options)

        connection.execute = refresh_before
        return connection

    monkeypatch.setattr(preflight, "connect", connect)
    snapshot = export(settings_for(database, tmp_path), on_progress=before_it_reads(instant.join))
    assert len(begun) == 2, "two tries"
    instant.agrees(snapshot)
    assert_agrees(database, snapshot)
    with session(database) as look:
        rows = scalar(look, "SELECT count(*) FROM t_gleif_candidates")
    assert snapshot.manifest.source.relations["gleif_candidates"].rows == rows
