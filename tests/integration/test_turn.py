"""Two runs at once: the second waits, or is refused with a clear message; the snapshots are never mixed (DESIGN 3)."""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from pipelines.errors import BusyError, SettingsError
from pipelines.progress import Progress, ignore_progress
from pipelines.run.turn import end_turn, take_turn
from pipelines.settings import Settings
from tests.exporting import assert_agrees, export, settings_for
from tests.forking import CONTEXT
from tests.hostile import random_rows
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]


def _hold(export_dir: Path, pipe: Connection) -> None:
    take_turn(export_dir, ignore_progress)
    pipe.send("held")
    pipe.recv()


def _export(settings: Settings, pipe: Connection) -> None:
    pipe.send(export(settings, full_refresh=True).manifest.id)


@contextmanager
def held_by_another_process(export_dir: Path) -> Iterator[Connection]:
    ours, theirs = CONTEXT.Pipe()
    process = CONTEXT.Process(target=_hold, args=(export_dir, theirs))
    process.start()
    assert ours.poll(30)
    ours.recv()
    try:
        yield ours
    finally:
        process.kill()
        process.join()


def test_a_second_run_is_refused_when_the_wait_is_over(tmp_path: Path) -> None:
    with held_by_another_process(tmp_path), pytest.raises(BusyError, match=r"process \d+ still has its turn"):
        take_turn(tmp_path, ignore_progress, wait_seconds=0.3)
    assert take_turn(tmp_path, ignore_progress, wait_seconds=5), "the kernel takes it back from a killed process"
    end_turn(tmp_path)


def test_a_second_run_waits_and_says_so(tmp_path: Path) -> None:
    heard: list[Progress] = []
    with held_by_another_process(tmp_path) as other:

        def hear(progress: Progress) -> None:
            heard.append(progress)
            other.send("go on")

        assert take_turn(tmp_path, hear, wait_seconds=30)
    end_turn(tmp_path)
    assert [progress.stage for progress in heard] == ["wait"]


def test_the_turn_of_this_process_is_not_taken_twice(tmp_path: Path) -> None:
    assert take_turn(tmp_path, ignore_progress)
    assert not take_turn(tmp_path, ignore_progress)
    end_turn(tmp_path)
    end_turn(tmp_path)


def test_a_folder_that_can_not_be_made_is_a_clear_error(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("", encoding="utf-8")
    with pytest.raises(SettingsError, match="EXPORT_DIR"):
        take_turn(in_the_way / "exports", ignore_progress)


def test_runs_at_once_publish_one_after_the_other(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_source(connection, *random_rows(11, 300))
    settings = settings_for(database, tmp_path)
    runs = []
    for _ in range(3):
        ours, theirs = CONTEXT.Pipe()
        process = CONTEXT.Process(target=_export, args=(settings, theirs))
        process.start()
        runs.append((process, ours))
    ids = set()
    for process, ours in runs:
        assert ours.poll(60)
        ids.add(ours.recv())
        process.join()
        assert process.exitcode == 0
    assert len(ids) == len(runs)
    snapshot = export(settings)
    assert snapshot.manifest.sequence == len(runs), "nothing changed since the last of them"
    assert_agrees(database, snapshot)
