"""The process that reads candidates ahead: what it read is sent, it runs on idle time, and it ends when it should."""

import asyncio
import json
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from pipelines.serving import read_ahead
from pipelines.serving.candidate_cache import CandidateCache
from pipelines.serving.holder import OpenSnapshot, SnapshotHolder
from pipelines.serving.read_ahead import ReadAhead
from pipelines.serving.settings import ServingSettings
from tests.integration.kit import wait_until
from tests.serving.conftest import Source
from tests.serving.kit import Served, served

pytestmark = [pytest.mark.integration, pytest.mark.standard]

_SECONDS = 30
_Scenario = Callable[[ReadAhead, OpenSnapshot], Awaitable[None]]


def _readers(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in process.children():
        with suppress(psutil.Error):  # it has ended meanwhile
            if any("candidate_worker" in part for part in child.cmdline()):
                found.append(child)
    return found


def _wait_for_a_reader(server: Served) -> psutil.Process:
    wait_until(lambda: _readers(server.process), _SECONDS)
    return _readers(server.process)[0]


@pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")
def test_it_starts_with_the_first_question_and_takes_idle_time(big: Source) -> None:
    with served(big.export_dir) as server:
        server.ask("/batches")
        assert not _readers(server.process)
        first = server.ask("/domains/70000/candidates").body
        reader = _wait_for_a_reader(server)
        wait_until(server.kept_bytes, _SECONDS)
        assert os.sched_getscheduler(reader.pid) == os.SCHED_IDLE
        assert server.ask("/domains/70000/candidates").body == first
    assert not reader.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere it ends with its stdin")
def test_it_ends_with_a_server_that_is_killed(big: Source) -> None:
    with served(big.export_dir) as server:
        server.ask("/domains/1/candidates")
        reader = _wait_for_a_reader(server)
        server.process.kill()
        reader.wait(_SECONDS)


def test_when_it_is_killed_answers_go_on(big: Source) -> None:
    with served(big.export_dir) as server:
        server.ask("/domains/1/candidates")
        _wait_for_a_reader(server).kill()
        for domain_id in (1, 2, 50_000, 99_999):
            rows = json.loads(server.ask(f"/domains/{domain_id}/candidates").body)
            assert [row["domainId"] for row in rows] == [domain_id] * 3
        wait_until(lambda: not _readers(server.process), _SECONDS)
        for domain_id in range(3, 80_003, 2_000):
            server.ask(f"/domains/{domain_id}/candidates")
            assert not _readers(server.process), "it is not started again"


def _play(source: Source, folder: Path, scenario: _Scenario) -> None:
    """Play in an event loop of this process, on an open snapshot."""

    async def play() -> None:
        holder = SnapshotHolder(ServingSettings(export_dir=source.export_dir, api_cache_dir=folder))
        holder.refresh()
        ahead = ReadAhead(holder)
        try:
            with holder.lease() as opened:
                await scenario(ahead, opened)
        finally:
            await ahead.close()
            holder.close()
        assert not _readers(psutil.Process())

    asyncio.run(play())


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(_SECONDS):
        while not condition():  # noqa: ASYNC110  nothing tells of it
            await asyncio.sleep(0.02)


def test_it_ends_when_nobody_asks_and_comes_again(big: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_ahead, "_IDLE_SECONDS", 0.5)

    async def scenario(ahead: ReadAhead, opened: OpenSnapshot) -> None:
        for domain_id in (1, 50_000):
            ahead.want(opened, domain_id)
            await _until(lambda wanted=domain_id: opened.candidates.find(wanted))
            await _until(lambda: not _readers(psutil.Process()))
        assert opened.candidates.find(1)
        assert opened.candidates.find(50_001)

    _play(big, tmp_path, scenario)


def test_a_killed_one_is_told_and_not_started_again(
    big: Source, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario(ahead: ReadAhead, opened: OpenSnapshot) -> None:
        ahead.want(opened, 1)
        await _until(lambda: opened.candidates.find(1))
        _readers(psutil.Process())[0].kill()
        ahead.want(opened, 50_000)
        await _until(lambda: any(record.name == read_ahead.__name__ for record in caplog.records))
        ahead.want(opened, 60_000)
        for _ in range(20):  # turns of the loop in which it would be started
            await asyncio.sleep(0)
        assert not _readers(psutil.Process())

    with caplog.at_level(logging.WARNING):
        _play(big, tmp_path, scenario)
    told = [record.message for record in caplog.records if record.name == read_ahead.__name__]
    assert told == ["Candidates are no longer read ahead: its process ended"]


def test_a_group_that_does_not_fit_beside_others_pushes_them_out(big: Source, tmp_path: Path) -> None:
    async def scenario(ahead: ReadAhead, opened: OpenSnapshot) -> None:
        opened.candidates = cache = CandidateCache(tmp_path, 3 << 20)
        for domain_id in (30_000, 50_000):
            ahead.want(opened, domain_id)
            await _until(lambda wanted=domain_id: cache.find(wanted))
            assert cache.offset > 3 << 19, "two of them would fit"
        assert cache.find(30_000) is None

    _play(big, tmp_path, scenario)


def test_a_group_that_never_fits_pushes_out_nothing(big: Source, tmp_path: Path) -> None:
    async def scenario(ahead: ReadAhead, opened: OpenSnapshot) -> None:
        opened.candidates = cache = CandidateCache(tmp_path, 3 << 19)
        ahead.want(opened, 100_010)  # the last group is a small one
        await _until(lambda: cache.find(100_010))
        ahead.want(opened, 1)
        await _until(lambda: not cache.want(1))
        assert cache.find(1) is None
        assert cache.find(100_010)

    _play(big, tmp_path, scenario)
