"""What Dagster reads of DAGSTER_HOME before anything else: a damaged file is named, where Dagster shows a traceback."""

import sqlite3
from contextlib import closing
from pathlib import Path

from dagster._core.instance.config import dagster_instance_config

from pipelines.errors import SettingsError

_DATABASES = ("history/runs.db", "history/runs/index.db", "schedules/schedules.db")
_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def require_readable_home(home: Path) -> None:
    """See that Dagster can read its configuration and its databases, where there are any.

    Raises:
        SettingsError: A file is damaged.
    """
    config = home / "dagster.yaml"
    try:
        dagster_instance_config(str(home))
    except Exception as error:  # noqa: BLE001  of the file, of YAML, of Dagster: its text may hold what stands there
        mark = getattr(error, "problem_mark", None)
        raise SettingsError(
            f"{config} can't be read",
            expected="YAML in UTF-8, with settings of Dagster",
            found=f"{type(error).__name__}{f' at line {mark.line + 1}' if mark else ''}",
            fix="correct the file, or delete it: it is written again",
        ) from None
    for database in (home / name for name in _DATABASES):
        try:
            if database.exists():
                _read_schema(database)
        except sqlite3.DatabaseError as error:
            if error.sqlite_errorcode not in _DAMAGE:  # such as a lock: Dagster waits for it
                continue
            raise SettingsError(
                f"{database} can't be read",
                expected="a database of SQLite, where Dagster keeps its runs",
                found=str(error),
                fix="restore DAGSTER_HOME from a backup, or set it to another folder: snapshots are not in it",
            ) from None


def _read_schema(database: Path) -> None:
    with closing(sqlite3.connect(f"{database.absolute().as_uri()}?mode=ro", uri=True)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
