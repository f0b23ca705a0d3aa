"""What queries may take: limits of open files add up to no more than there is; one query at a time has it all."""

import threading
from collections.abc import Callable, Iterator

import duckdb
import pytest

from pipelines.errors import AnswerTooLargeError, SettingsError
from pipelines.query.bounded import BoundedSession, DoesNotFitError
from pipelines.query.query_memory import QueryMemory
from pipelines.serving.settings import ServingSettings
from pipelines.settings import load_settings
from pipelines.snapshots.duckdb_connections import open_scratch
from pipelines.system.environment import LARGEST_MEMORY_MB

pytestmark = pytest.mark.fast

ROWS = "SELECT repeat('x', $size) AS text FROM range($rows)"


@pytest.fixture
def sessions() -> Iterator[list[duckdb.DuckDBPyConnection]]:
    opened = [duckdb.connect(config={"temp_directory": ""}) for _ in range(3)]
    yield opened
    for session in opened:
        session.close()


def limit_of(session: duckdb.DuckDBPyConnection) -> float:
    (found,) = session.cursor().execute("SELECT current_setting('memory_limit')").fetchall()[0]
    number, unit = found.split()
    return float(number) * {"KiB": 1 / 1024, "MiB": 1, "GiB": 1024}[unit]


def test_limits_of_open_files_add_up_to_no_more_than_there_is(sessions: list[duckdb.DuckDBPyConnection]) -> None:
    memory = QueryMemory(256, "a test")
    for number, session in enumerate(sessions, 1):
        memory.add(session)
        limits = [limit_of(one) for one in sessions[:number]]
        assert sum(limits) <= memory.duckdb_mb / 2
        assert min(limits) > memory.duckdb_mb / 2 / number - 2
    with memory.alone(session=sessions[1]):
        assert limit_of(sessions[1]) > memory.duckdb_mb - 4
        assert limit_of(sessions[0]) + limit_of(sessions[2]) < 5
    assert max(limit_of(session) for session in sessions) < memory.duckdb_mb / 6 + 1
    for session in sessions[1:]:
        memory.remove(session)
    assert limit_of(sessions[0]) > memory.duckdb_mb / 2 - 2


def test_what_is_fetched_is_bounded(sessions: list[duckdb.DuckDBPyConnection]) -> None:
    memory = QueryMemory(256, "a test")
    memory.add(sessions[0])
    session = BoundedSession(sessions[0], memory)
    assert len(session.rows(ROWS, {"size": 1_000, "rows": 100})) == 100
    more, most = memory.answer_bytes // 100_000 + 1, memory.alone_bytes // 100_000 + 1
    assert len(session.rows(ROWS, {"size": 100_000, "rows": more})) == more, "asked again while no other query runs"
    with pytest.raises(AnswerTooLargeError, match="needs more memory than there is"):
        session.rows(ROWS, {"size": 100_000, "rows": most})
    with pytest.raises(DoesNotFitError):
        session.chunk(ROWS, {"size": 100_000, "rows": memory.chunk_bytes // 100_000 + 1})
    assert session.rows("SELECT [repeat('y', 10)], 1", {}) == [(["yyyyyyyyyy"], 1)]
    session.close()


def test_a_query_that_needs_all_of_it_waits_for_the_others_and_they_for_it() -> None:
    memory = QueryMemory(256, "a test")
    said: list[str] = []
    is_alone, may_end = threading.Event(), threading.Event()

    def run_alone() -> None:
        with memory.alone():
            said.append("alone")
            is_alone.set()
            assert may_end.wait(120)
            said.append("alone no more")

    def run_shared() -> None:
        with memory.shared():
            said.append("shared")

    alone, other = threading.Thread(target=run_alone), threading.Thread(target=run_shared)
    with memory.shared():
        alone.start()
        assert not is_alone.wait(0.2)
    assert is_alone.wait(120)
    other.start()
    other.join(0.2)
    assert said == ["alone"]
    may_end.set()
    for thread in (alone, other):
        thread.join(120)
    assert said == ["alone", "alone no more", "shared"]


def test_who_is_stopped_waits_no_longer() -> None:
    memory = QueryMemory(256, "a test")

    def stop() -> None:
        raise InterruptedError

    for room in (memory.shared, memory.alone):
        with memory.alone(), pytest.raises(InterruptedError), room(stop):
            pass
    with memory.shared():
        pass


@pytest.mark.parametrize(
    ("name", "load"), [("DATABASE_MEMORY_MB", load_settings), ("API_MEMORY_MB", ServingSettings.load)]
)
def test_memory_that_no_machine_has_is_refused(
    monkeypatch: pytest.MonkeyPatch, name: str, load: Callable[[], object]
) -> None:
    monkeypatch.setenv(name, "9" * 23)
    with pytest.raises(SettingsError, match=name):
        load()
    monkeypatch.setenv(name, "8000000")
    load()


def test_duckdb_takes_the_largest_memory_there_may_be() -> None:
    open_scratch(LARGEST_MEMORY_MB * 3 // 2).close()  # of a comparison, which has half as much more
