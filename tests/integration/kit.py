"""What tests of the extraction share: staging a source, runs that must fail, sessions that look on."""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
import pytest
from psycopg import conninfo, sql

from pipelines.build.extraction import Acceptance, stage_source
from pipelines.build.stagings import latest_staging
from pipelines.contracts.records import StagingRecord
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.errors import ExportError
from pipelines.export import run_export
from pipelines.progress import OnProgress, ignore_progress
from pipelines.settings import Settings
from pipelines.system.run_lock import hold_run_lock
from tests.exporting import settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

ACCEPT_ALL = Acceptance(new_source=True, shrink=True)
# Stands in texts of rows: no message may hold it.
ROW_MARK = "ROWSECRET"
PASSWORD = "p@ss #w:/%'\" ü?&=\\"
OUR_SESSIONS = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'lei-exports-%'"
# Those inside of tables that are slow. A COPY alone is no sign: a run also tries, with one number, whether it can read.
SLOW_READS = f"{OUR_SESSIONS} AND wait_event = 'PgSleep'"


def stage(
    settings: Settings, on_progress: OnProgress = ignore_progress
) -> tuple[StagingRecord, dict[str, pl.DataFrame]]:
    """Run only the extraction; its record, and the staged rows of each table by id."""
    with hold_run_lock(settings.export_dir) as lock:
        record = stage_source(settings, lock, ACCEPT_ALL, on_progress).record
    folder = latest_staging(settings.export_dir)
    index, frames = folder.read_source_index(), {}
    for table in SOURCE_TABLES:
        pieces = index.frame.filter(kind=table.name)
        rows = folder.read_source(table, pieces, include_full_data=settings.include_full_data)
        frames[table.name] = rows.sort("id") if rows.height else pl.DataFrame()
    return record, frames


class Published:
    """A published snapshot and a complete staging that a failing run must leave as they are."""

    def __init__(self, export_dir: Path) -> None:
        self.export_dir = export_dir
        self._before = self._state()
        assert (export_dir / "current").is_symlink()

    def fails(
        self,
        settings: Settings,
        *says: str,
        kind: type[ExportError] = ExportError,
        on_progress: OnProgress = ignore_progress,
    ) -> ExportError:
        """Run an export that must fail with such an error, saying so and no more, and leaving no trace."""
        with pytest.raises(kind) as caught:
            run_export(settings, ACCEPT_ALL, on_progress)
        error = caught.value
        assert type(error) is kind or kind is ExportError
        self.is_untouched()
        assert_says(error, *says, url=settings.database_url.get_secret_value() if settings.database_url else "")
        return error

    def is_untouched(self) -> None:
        assert self._state() == self._before

    def _state(self) -> dict[str, object]:
        # A half staging would show as new paths.
        return {
            str(path.relative_to(self.export_dir)): path.readlink()
            if path.is_symlink()
            else (path.lstat().st_ino, path.lstat().st_size if path.is_file() else 0)
            for path in sorted(self.export_dir.rglob("*"))
            if path.name not in (".digests.json", ".run.lock", ".publish.lock", "last_checked.json")
        }


def assert_says(error: BaseException, *says: str, url: str = "") -> None:
    """An error says what it must, and neither row content, nor password, nor URL; nor does what it hides."""
    text = str(error)
    for words in says:
        assert words in text, text
    assert "Fix: " in text, text
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None:
        chain.append(current)
        current = None if current.__suppress_context__ else (current.__cause__ or current.__context__)
    everything = "\n".join([*map(str, chain), *map(repr, chain)])
    assert ROW_MARK not in everything
    assert not re.search(r"postgres(ql)?://\S*@", everything), everything
    assert PASSWORD not in everything
    if url:
        assert url not in everything


@contextmanager
def session(database: Database, **options: Any) -> Iterator[psycopg.Connection[Any]]:
    """A connection in autocommit mode, closed at the end."""
    connection = database.connect(autocommit=True, **options)
    try:
        yield connection
    finally:
        connection.close()


def settings_of(database: Database, tmp_path: Path, **overrides: Any) -> Settings:
    return settings_for(database, tmp_path / "export", segment_size=1000, **overrides)


def fill(database: Database, seed: int = 1, rows: int = 300) -> None:
    """Both tables with random rows, on a few dozen pages."""
    fill_source(database, *random_rows(seed, rows))


def run_sql(database: Database, *statements: str) -> None:
    """Run statements, each in its own transaction."""
    with session(database) as connection:
        for statement in statements:
            connection.execute(statement)  # type: ignore[call-overload]


def scalar(connection: psycopg.Connection[Any], query: str, *parameters: object) -> Any:
    row = connection.execute(query, parameters or None).fetchone()  # type: ignore[call-overload]
    assert row is not None
    return row[0]


def assert_no_sessions(database: Database) -> None:
    """No connection of a run is left (a backend needs a moment to see that its client is gone)."""
    with session(database) as connection:
        wait_until(lambda: scalar(connection, OUR_SESSIONS) == 0, 5)


class Background(threading.Thread):
    """Runs a function in a thread; `result` gives what it returned or raises what it raised."""

    def __init__(self, function: Callable[[], Any]) -> None:
        super().__init__(daemon=True)
        self._function = function
        self._value: Any = None
        self._error: BaseException | None = None
        self.seconds = 0.0
        self.start()

    def run(self) -> None:
        started = time.monotonic()
        try:
            self._value = self._function()
        except BaseException as error:  # noqa: BLE001
            self._error = error
        self.seconds = time.monotonic() - started

    def result(self, seconds: float = 120) -> Any:
        self.join(seconds)
        assert not self.is_alive(), "still running"
        if self._error is not None:
            raise self._error
        return self._value


def make_slow(database: Database, seconds_per_row: float = 0.02, queries: str = "COPY %") -> None:
    """Make both tables views that sleep at each row, for queries like this pattern: by default those that read rows."""
    for table in SOURCE_TABLES:
        run_sql(
            database,
            f"ALTER TABLE {table.name} RENAME TO real_{table.name}",
            f"CREATE VIEW {table.name} AS SELECT t.* FROM real_{table.name} t, "
            f"LATERAL (SELECT pg_sleep(CASE WHEN current_query() LIKE '{queries}' THEN {seconds_per_row} ELSE 0 END)"
            " WHERE t.id IS NOT NULL OFFSET 0) s",
        )


@contextmanager
def role(database: Database, *attributes: str) -> Iterator[str]:
    """A new role that may log in, dropped at the end with what it was granted."""
    name = f"lei_role_{os.getpid()}_{time.monotonic_ns()}"
    identifier = sql.Identifier(name)
    with session(database) as connection:
        connection.execute(sql.SQL("CREATE ROLE {} LOGIN {}").format(identifier, sql.SQL(" ".join(attributes))))  # type: ignore[arg-type]
        try:
            yield name
        finally:
            connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(identifier))


def as_role(database: Database, name: str) -> Database:
    """The database as that role sees it."""
    return Database(
        conninfo.make_conninfo(database.conninfo, user=name),
        re.sub(r"//[^@]*@", f"//{name}@", database.url),
        database.name,
    )
