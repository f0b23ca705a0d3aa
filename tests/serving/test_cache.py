"""Batches that are kept: the same as read again, on disk without a name, within their limit, gone with the snapshot."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.query.batch.batches import batch_of
from pipelines.query.batch.files import BatchFormat, BatchOptions, stream_batch
from pipelines.query.queries import find_candidates_json
from pipelines.serving.export_sources import CacheWriter, FileCache, KeptSource
from tests.batch.kit import reader_of
from tests.faults.kit import small_disk
from tests.forking import run_command
from tests.serving.conftest import Source
from tests.serving.kit import Served, export_path, served
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]


def is_kept(server: Served, path: str, **headers: str) -> bool:
    """Whether an answer comes from the cache: its length is known before it is sent."""
    answer = server.ask(path, **headers)
    assert answer.status == 200
    return "content-length" in answer.headers


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def server(big: Source, folder: Path) -> Iterator[Served]:
    with served(big.export_dir, API_CACHE_DIR=str(folder)) as server:
        yield server


@pytest.mark.parametrize("encoding", ["identity", "gzip", "zstd"])
@pytest.mark.parametrize("form", list(BatchFormat))
def test_a_kept_batch_is_the_same(server: Served, form: BatchFormat, encoding: str) -> None:
    path = export_path("small", form.value)
    first, second = (server.ask(path, Accept_Encoding=encoding) for _ in range(2))
    assert second.headers.pop("content-length") == str(len(first.body))
    first.headers.pop("content-length", None)  # of Parquet and xlsx the first encoding's answer was kept
    first.headers.pop("transfer-encoding", None)
    assert (second.headers | {"date": ""}) == (first.headers | {"date": ""})
    assert second.body == first.body


def test_it_lies_on_disk_without_a_name(server: Served, folder: Path) -> None:
    assert is_kept(server, export_path("small", "csv")) or is_kept(server, export_path("small", "csv"))
    assert list(folder.iterdir()) == []
    assert any(str(folder) in name and name.endswith("(deleted)") for name in server.open_files())


def test_with_no_disk_nothing_is_kept(big: Source) -> None:
    with served(big.export_dir, API_CACHE_MB="0") as server:
        assert not is_kept(server, export_path("small"))
        assert not is_kept(server, export_path("small"))
        assert not any("(deleted)" in name for name in server.open_files())


@pytest.mark.standard
def test_candidates_of_one_domain_are_those_of_its_batch_to_the_byte(hostile: Source) -> None:
    snapshot = hostile.snapshot
    batches = snapshot.scan("domain_exports").select("batch_id").unique().collect()["batch_id"].to_list()
    found = 0
    with reader_of(snapshot) as reader:
        for batch_id in batches:
            batch = batch_of(reader, batch_id)
            keys = {name: name for name in batch.candidate_columns}
            for line in b"".join(stream_batch(batch, BatchFormat.NDJSON, BatchOptions())).decode().split("\n")[:-1]:
                text = find_candidates_json(reader, json.loads(line)["domain_id"], keys)
                assert text is not None
                assert line.endswith(f',"candidates":{text}}}')
                found += text.count("\\u00")
    assert found, "control characters are among them"


def test_what_is_too_large_is_not_kept(big: Source) -> None:
    with served(big.export_dir, API_CACHE_MB="1") as server:
        small, large = export_path("small", "csv"), export_path("big", "csv")
        for path, kept in ((small, False), (small, True), (large, False), (large, False), (small, True)):
            assert is_kept(server, path) is kept, path


def test_on_a_full_disk_answers_go_on(big: Source, tmp_path: Path) -> None:
    with small_disk(tmp_path, "64k"), served(big.export_dir, API_CACHE_DIR=str(tmp_path)) as server:
        assert len(server.ask(export_path("big", "csv")).body) > 1 << 20
        for domain_id in (1, 1, 50_000):
            assert len(json.loads(server.ask(f"/domains/{domain_id}/candidates").body)) == 3
        wait_until(lambda: not any(str(tmp_path) in name for name in server.open_files()))


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_folder_that_can_not_be_used_is_refused(hostile: Source, tmp_path: Path, kind: str) -> None:
    place = tmp_path / kind
    if kind == "file":
        place.write_text("")
    folder = hostile.export_dir
    settings = {"EXPORT_DIR": str(folder), "API_CACHE_DIR": str(place)}
    done = run_command(["serve", "--port", "0"], folder, settings)
    assert done.returncode == 1
    assert "API_CACHE_DIR" in done.stderr


def _keep(cache: FileCache, key: str, size: int) -> bool:
    writer = CacheWriter(cache, key)
    writer.write(b"x" * size)
    writer.end(keep=True)
    with cache.open(key) as found:
        if found is not None:
            kept = KeptSource(*found)
            assert kept.read() == b"x" * size
            assert kept.read() is None
        return found is not None


def test_who_was_not_asked_for_longest_goes_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    assert _keep(cache, "a", 40)
    assert _keep(cache, "b", 40)
    with cache.open("a") as held:
        assert held is not None
        assert _keep(cache, "c", 40)
        with cache.open("b") as found:
            assert found is None
        assert _keep(cache, "d", 50)
        assert _keep(cache, "e", 50)
        with cache.open("a") as found:
            assert found is None
        assert KeptSource(*held).read() == b"x" * 40  # whoever has it open reads on
    assert not _keep(cache, "half", 51)
    assert cache.bytes == 100
    dropped = CacheWriter(cache, "f")
    dropped.write(b"x" * 10)
    dropped.end(keep=False)
    assert cache.bytes == 50  # room was made for it
    cache.close()
    assert cache.bytes == 0
    assert not _keep(cache, "late", 1)
