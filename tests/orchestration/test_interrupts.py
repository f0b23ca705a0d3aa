"""An operator's interrupt ends what it came in, as an interrupt: whatever a library or our own code makes of it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import dagster as dg
import duckdb
import pytest
from dagster._core.errors import raise_execution_interrupts
from pydantic import SecretStr

from assets.cli.interrupts import watch_interrupts
from assets.defs.resources import failures
from pipelines.engine.local import LOCAL
from pipelines.errors import ExtractError
from pipelines.source.reader import read_query
from pipelines.system.processes import keep_interrupts, notice_interrupts
from tests.oracle.postgres import Database

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.standard]

SECONDS = 0.3  # less than each wait takes


class Interrupted(BaseException):
    """What a handler may raise, as Dagster's does: no Exception, and no KeyboardInterrupt."""


@contextmanager
def raising(kind: type[BaseException]) -> Iterator[None]:
    def handle(*_: object) -> None:
        raise kind

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interrupted(how: signal.Signals) -> Iterator[None]:
    """The signal comes while the block runs."""
    timer = threading.Timer(SECONDS, os.kill, (os.getpid(), how))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def wait_in_connectorx(database: Database) -> None:
    read_query(SecretStr(database.url), "SELECT pg_sleep(2)::text", [])


def wait_in_duckdb(_: Database) -> None:
    with duckdb.connect() as connection:
        connection.execute("SELECT count(*) FROM range(8000) a, range(60000) b WHERE a.range * b.range % 7 = 3")


def wait_and_call_it_a_failed_read(_: Database) -> None:
    try:
        time.sleep(2)
    except BaseException:  # noqa: BLE001  as code may do that does not know of interrupts
        raise ExtractError("A read failed") from None


def wait_in_a_finalizer(_: Database) -> None:
    class Slow:
        def __del__(self) -> None:
            time.sleep(1)

    slow = Slow()
    del slow
    time.sleep(2)


WAITS = [wait_in_connectorx, wait_in_duckdb, wait_and_call_it_a_failed_read, wait_in_a_finalizer]


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("wait", WAITS)
def test_a_step_is_stopped_and_not_tried_again(
    database: Database, wait: Callable[[Database], None], how: signal.Signals
) -> None:
    before = sys.unraisablehook
    with raising(KeyboardInterrupt), raise_execution_interrupts():
        with pytest.raises(dg.DagsterExecutionInterruptedError), interrupted(how), failures(retry_number=0):
            wait(database)
        with pytest.raises(dg.RetryRequested), failures(retry_number=0):
            raise ExtractError("Another step, that nobody interrupts")
    assert sys.unraisablehook is before


@pytest.mark.parametrize("wait", WAITS)
@pytest.mark.parametrize("within", [nullcontext, watch_interrupts])
def test_a_command_is_interrupted(
    database: Database, wait: Callable[[Database], None], within: Callable[[], AbstractContextManager[object]]
) -> None:
    with (
        raising(KeyboardInterrupt),
        pytest.raises(KeyboardInterrupt),
        interrupted(signal.SIGINT),
        keep_interrupts(KeyboardInterrupt),
        within(),
    ):
        wait(database)


@pytest.mark.parametrize("kind", [Interrupted, KeyboardInterrupt, dg.DagsterExecutionInterruptedError])
def test_a_read_hands_it_on(database: Database, kind: type[BaseException]) -> None:
    with raising(kind), pytest.raises(kind), interrupted(signal.SIGTERM):
        wait_in_connectorx(database)


def test_an_interrupt_says_more_than_a_reason_to_give_way() -> None:
    """A session that waits behind the run would have it tried again."""
    stopped = threading.Event()

    def watch() -> None:
        if stopped.is_set():
            raise ExtractError("The run gave way")

    with raising(Interrupted), pytest.raises(Interrupted), interrupted(signal.SIGTERM):
        list(LOCAL.map(lambda _: stopped.wait(10), [1], memory_bytes=1, watch=watch, on_stop=stopped.set))


def test_it_is_noticed_in_each_block_that_it_came_in_and_in_no_other() -> None:
    with raising(Interrupted), notice_interrupts() as outer:
        with notice_interrupts() as inner:
            assert not inner()
            with pytest.raises(Interrupted):
                signal.raise_signal(signal.SIGTERM)
            assert inner()
            assert outer()
        with notice_interrupts() as later:
            assert not later()
        assert outer()
    with notice_interrupts() as another:
        assert not another()
