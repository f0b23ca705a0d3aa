"""What both engines do alike: the same cases run on threads of this process and on a real Ray cluster."""

import time
from collections.abc import Iterator
from itertools import count, pairwise
from pathlib import Path
from statistics import median

import pytest

from pipelines.engine.flow import Engine
from pipelines.engine.local import LocalEngine
from pipelines.errors import ExtractError
from tests.engine.tasks import Job, fail, run_stubbornly, run_until_released, square, wait_but_first
from tests.waiting import wait_until

pytestmark = pytest.mark.extended

MIB = 2**20


class Counted:
    """Tasks without end, and how many were taken."""

    def __init__(self, folder: Path) -> None:
        self.taken = 0
        self._folder = folder

    def __iter__(self) -> Iterator[Job]:
        for number in count():
            self.taken += 1
            yield Job(number, self._folder)


class Stop(Exception):  # noqa: N818
    """What a watch raises."""


@pytest.fixture(params=[pytest.param("local", marks=pytest.mark.standard), "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "local":
        return LocalEngine()
    engine: Engine = request.getfixturevalue("ray_engine")
    return engine


def running(folder: Path) -> int:
    return len(list(folder.glob("running-*")))


def test_all_facts_come_in_any_order(engine: Engine) -> None:
    facts = list(engine.map(square, (Job(number) for number in range(50)), memory_bytes=MIB))
    assert sorted(facts) == [number**2 for number in range(50)]


def test_no_tasks_no_facts(engine: Engine) -> None:
    assert list(engine.map(square, [], memory_bytes=MIB)) == []


def test_tasks_are_taken_as_there_is_room(engine: Engine, tmp_path: Path) -> None:
    tasks = Counted(tmp_path)
    facts = engine.map(square, tasks, memory_bytes=MIB, at_a_time=2)
    assert tasks.taken == 0
    for given in range(1, 6):
        next(facts)
        assert tasks.taken <= given + 2 * 2
    facts.close()  # type: ignore[attr-defined]


def test_no_more_run_at_a_time_than_stated(engine: Engine, tmp_path: Path) -> None:
    def release_two() -> None:
        if running(tmp_path) >= 2:
            (tmp_path / "release").touch()

    jobs = [Job(number, tmp_path) for number in range(6)]
    facts = list(engine.map(run_until_released, jobs, memory_bytes=MIB, at_a_time=2, watch=release_two))
    assert len(facts) == 6
    assert max(facts) == 2


def test_an_error_of_a_task_comes_as_it_was(engine: Engine, tmp_path: Path) -> None:
    jobs = [Job(number, tmp_path) for number in range(10)]
    with pytest.raises(ExtractError) as caught:
        list(engine.map(fail, jobs, memory_bytes=MIB, at_a_time=2, on_stop=(tmp_path / "release").touch))
    expected = ExtractError("The read of domains failed", expected="rows", found="none", fix="start it again")
    assert str(caught.value) == str(expected)
    assert (caught.value.expected, caught.value.found, caught.value.fix) == ("rows", "none", "start it again")


def test_errors_can_come_again_and_again(engine: Engine) -> None:
    """Ray 2.60 aborted the coordinator where a task was cancelled that had just failed."""
    for _ in range(100):
        with pytest.raises(ExtractError):
            list(engine.map(fail, [Job(1), Job(1), Job(1)], memory_bytes=MIB))


def test_an_error_of_the_tasks_themselves_stops_too(engine: Engine, tmp_path: Path) -> None:
    def tasks() -> Iterator[Job]:
        yield Job(0, tmp_path)
        raise Stop

    with pytest.raises(Stop):
        list(engine.map(run_until_released, tasks(), memory_bytes=MIB, on_stop=(tmp_path / "release").touch))


def test_a_watch_that_raises_stops_what_runs_and_drops_the_rest(engine: Engine, tmp_path: Path) -> None:
    tasks = Counted(tmp_path)

    def watch() -> None:
        if running(tmp_path) >= 2:
            raise Stop

    with pytest.raises(Stop):
        list(
            engine.map(
                run_until_released, tasks, memory_bytes=MIB, at_a_time=2, watch=watch,
                on_stop=(tmp_path / "release").touch,
            )
        )  # fmt: skip
    assert tasks.taken <= 4
    # They would go on for two minutes. Ray may end a task before it clears up.
    wait_until(lambda: running(tmp_path) == 0 or engine.name == "ray", 20)


def test_the_watch_is_asked_while_nothing_ends(engine: Engine, tmp_path: Path) -> None:
    asked: list[float] = []

    def watch() -> None:
        asked.append(time.monotonic())
        if len(asked) == 5:
            (tmp_path / "release").touch()

    list(engine.map(run_until_released, [Job(0, tmp_path)], memory_bytes=MIB, watch=watch))
    # Not each pause: others may have the processor for a while.
    assert median(after - before for before, after in pairwise(asked)) < 0.5 + 0.5


def test_why_the_caller_stopped_comes_before_the_error_of_a_task_that_it_ended(engine: Engine, tmp_path: Path) -> None:
    stopping = False

    def watch() -> None:
        if stopping:
            raise Stop

    def tasks() -> Iterator[Job]:
        nonlocal stopping
        yield Job(1, tmp_path)
        stopping = True

    with pytest.raises(Stop):
        list(engine.map(fail, tasks(), memory_bytes=MIB, watch=watch))


def test_a_caller_that_goes_away_stops_what_runs(engine: Engine, tmp_path: Path) -> None:
    tasks = Counted(tmp_path)
    facts = engine.map(wait_but_first, tasks, memory_bytes=MIB, at_a_time=2, on_stop=(tmp_path / "release").touch)
    assert next(facts) == 0
    wait_until(lambda: running(tmp_path) > 0)
    facts.close()  # type: ignore[attr-defined]
    assert (tmp_path / "release").exists()
    assert tasks.taken <= 1 + 4
    with pytest.raises(StopIteration):
        next(facts)


def test_a_task_that_ends_on_no_cancel_is_given_up(engine: Engine, tmp_path: Path) -> None:
    given_up: list[float] = []
    stops: list[float] = []

    def watch() -> None:
        if running(tmp_path):
            raise Stop

    with pytest.raises(Stop):
        list(
            engine.map(
                run_stubbornly, [Job(0, tmp_path)], memory_bytes=MIB, watch=watch,
                on_stop=lambda: stops.append(time.monotonic()), on_give_up=lambda: given_up.append(time.monotonic()),
            )
        )  # fmt: skip
    assert len(given_up) == 1
    assert len(stops) >= 5
    assert 4 < given_up[0] - stops[0] < 30, "it would go on for two minutes"
    (tmp_path / "release").touch()
    # The engine goes on: what was given up keeps nobody from working.
    assert list(engine.map(square, [Job(3)], memory_bytes=MIB)) == [9]


def test_each_node_is_asked_once(engine: Engine) -> None:
    answers = engine.ask_nodes(square, Job(4))
    assert set(answers.values()) == {16}
    assert len(answers) == (1 if engine.name == "local" else 2)


def test_an_error_of_a_node_that_is_asked_comes_as_it_was(engine: Engine) -> None:
    with pytest.raises(ExtractError, match="The read of domains failed"):
        engine.ask_nodes(fail, Job(1))
