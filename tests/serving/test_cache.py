"""What is kept of answers: the same as a new read, on disk without a name, within limits, gone with the snapshot."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from pipelines.query.attached import open_attached
from pipelines.query.batch.files import BatchFormat
from pipelines.query.candidate_arrays import read_arrays
from pipelines.query.database import open_database
from pipelines.query.queries import array_queries, find_candidates_json
from pipelines.query.query_memory import QueryMemory
from pipelines.serving.candidate_cache import CandidateCache
from pipelines.serving.file_cache import FileCache
from pipelines.serving.models import CANDIDATE_KEYS
from tests.integration.kit import wait_until
from tests.serving.conftest import Source
from tests.serving.kit import SCRIPT, Served, export_path, served

pytestmark = [pytest.mark.integration, pytest.mark.standard]


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


def test_candidates_are_the_same_kept_or_read(big: Source, server: Served) -> None:
    ids = [1, 2, 1_023, 1_024, 2_047, 2_048, 99_999, 100_000, 100_010]
    with served(big.export_dir, API_CACHE_MB="0") as without:
        wanted = {domain_id: without.ask(f"/domains/{domain_id}/candidates") for domain_id in ids}
        assert not is_kept(without, export_path("small"))
        assert not is_kept(without, export_path("small"))
        assert not any("(deleted)" in name for name in without.open_files())
    # Of the groups of these ids: 1 to 3,071 and 99,328 to 100,010.
    enough = server.kept_bytes() + (3_071 + 683) * min(len(answer.body) for answer in wanted.values())
    for kept in (False, True):  # read for the first time, then kept
        if kept:
            wait_until(lambda: server.kept_bytes() >= enough, 60)
        for domain_id in ids:
            answer = server.ask(f"/domains/{domain_id}/candidates")
            assert answer.body == wanted[domain_id].body
            assert answer.headers["etag"] == wanted[domain_id].headers["etag"]
            assert [row["domainId"] for row in json.loads(answer.body)] == [domain_id] * 3
    assert server.ask("/domains/100011/candidates").status == 404
    assert server.ask("/domains/-1/candidates").status == 404


def test_every_candidate_is_the_same_to_the_byte_alone_or_among_many(hostile: Source) -> None:
    names = {name: name for name in CANDIDATE_KEYS}
    with (
        closing(open_database(hostile.snapshot, QueryMemory(256, "a test"))) as database,
        database.reader() as reader,
        open_attached(hostile.snapshot.database_path, 64) as session,
    ):
        queries = array_queries(reader.columns_of("candidate_exports"), names)
        arrays = list(read_arrays(session, queries, -(2**63), 2**63 - 1, 1 << 30))
        assert any("\\u00" in text for _, text in arrays), "control characters are among them"
        for domain_id, text in arrays:
            assert find_candidates_json(reader, domain_id, names) == text


def test_what_is_too_large_is_not_kept(big: Source) -> None:
    with served(big.export_dir, API_CACHE_MB="1") as server:
        small, large = export_path("small", "csv"), export_path("big", "csv")
        for path, kept in ((small, False), (small, True), (large, False), (large, False), (small, True)):
            assert is_kept(server, path) is kept, path
        # Nor do candidates of 1,024 neighbours fit in half a megabyte.
        for domain_id in range(1, 100_000, 3_001):
            assert len(json.loads(server.ask(f"/domains/{domain_id}/candidates").body)) == 3


def test_on_a_full_disk_answers_go_on(big: Source, tmp_path: Path) -> None:
    if subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", tmp_path], check=False, capture_output=True
    ).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    try:
        with served(big.export_dir, API_CACHE_DIR=str(tmp_path)) as server:
            assert len(server.ask(export_path("big", "csv")).body) > 1 << 20
            for domain_id in (1, 1, 50_000):
                assert len(json.loads(server.ask(f"/domains/{domain_id}/candidates").body)) == 3
            # The first of these had a file opened for what is read ahead; the disk does not take it.
            wait_until(lambda: not any(str(tmp_path) in name for name in server.open_files()), 60)
    finally:
        subprocess.run(["umount", "-l", tmp_path], check=True)


@pytest.mark.parametrize("kind", ["missing", "file"])
def test_a_folder_that_can_not_be_used_is_refused(hostile: Source, tmp_path: Path, kind: str) -> None:
    place = tmp_path / kind
    if kind == "file":
        place.write_text("")
    done = subprocess.run(
        [SCRIPT, "serve", "--port", "0"],
        env={"PATH": os.environ["PATH"], "EXPORT_DIR": str(hostile.export_dir), "API_CACHE_DIR": str(place)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    assert "API_CACHE_DIR" in done.stderr


def _keep(cache: FileCache, key: str, size: int) -> bool:
    draft = cache.draft(key)
    draft.write(b"x" * size)
    draft.keep()
    found = cache.find(key)
    if found is not None:
        with found:
            assert found.read() == b"x" * size
            assert found.read() is None
    return found is not None


def test_who_was_not_asked_for_longest_goes_first(tmp_path: Path) -> None:
    cache = FileCache(tmp_path, 100)
    assert _keep(cache, "a", 40)
    assert _keep(cache, "b", 40)
    held = cache.find("a")
    assert held is not None
    with held:
        assert _keep(cache, "c", 40)
        assert cache.find("b") is None
        assert _keep(cache, "d", 50)
        assert _keep(cache, "e", 50)
        assert cache.find("a") is None
        assert held.read() == b"x" * 40  # whoever has it open reads on
    assert not _keep(cache, "half", 51)
    assert cache.bytes == 100
    dropped = cache.draft("f")
    dropped.write(b"x" * 10)
    dropped.drop()
    assert cache.bytes == 50  # room was made for it
    cache.close()
    assert cache.bytes == 0
    assert not _keep(cache, "late", 1)


def test_candidates_start_anew_when_they_are_full(tmp_path: Path) -> None:
    def keep(domain_id: int, text: bytes) -> bool:
        cache.want(domain_id)
        group = cache.next_wanted()
        if group is None:
            return False
        first, last = cache.range_of(group)
        assert first <= domain_id <= last
        if len(text) > cache.room and not cache.start_anew(len(text)):
            cache.refuse(group)
            return False
        os.pwrite(cache.open_file(), text, cache.offset)
        cache.add(group, [domain_id], [len(text)])
        return cache.find(domain_id) == text

    cache = CandidateCache(tmp_path, 100)
    assert keep(-5, b"a" * 40)
    assert keep(5_000, b"b" * 60)
    assert cache.find(-5) == b"a" * 40
    assert cache.find(5_001) is None
    assert not keep(5_000, b"it is there already")
    assert keep(9_000, b"c")  # they are full
    assert cache.find(-5) is None
    assert cache.find(5_000) is None
    assert os.fstat(cache.open_file()).st_size == 1
    assert not keep(20_000, b"d" * 101)
    cache.want(20_000)
    assert cache.next_wanted() is None, "what can't be kept is asked for once"
    cache.close()
    assert cache.find(9_000) is None


def test_what_is_asked_for_while_it_is_read_is_read_once(tmp_path: Path) -> None:
    cache = CandidateCache(tmp_path, 100)
    assert cache.want(1)
    group = cache.next_wanted()
    assert group is not None
    assert cache.want(2)
    cache.add(group, [1, 2], [0, 0])
    assert not cache.is_wanted
