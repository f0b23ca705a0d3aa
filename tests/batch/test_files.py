"""Files: whole or not at all; streams: one snapshot, a chunk at a time; batches that are not there."""

import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipelines.errors import BatchFileError, BatchNotFoundError, SnapshotError
from pipelines.query.batch import text_formats
from pipelines.query.batch.batches import open_batch, shown_id
from pipelines.query.batch.chunks import ChunkSize
from pipelines.query.batch.files import BatchFormat, BatchOptions, file_name, stream_batch, write_batch
from pipelines.system.files import replace_file
from tests.batch.conftest import AWKWARD_IDS, Exported
from tests.batch.kit import csv_rows, file_of
from tests.exporting import export, settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.fast]

SMALL = BatchOptions(size=ChunkSize(2, 100))


def names_in(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize("batch_format", list(BatchFormat))
def test_a_written_file_is_the_streamed_one(sample: Exported, tmp_path: Path, batch_format: BatchFormat) -> None:
    batch_id = next(iter(sample.cells))
    target = tmp_path / "file"
    target.write_text("an older one")
    with open_batch(sample.snapshot, batch_id) as batch:
        written = write_batch(batch, batch_format, target)
    assert target.read_bytes() == file_of(sample.snapshot, batch_id, batch_format)
    assert written.bytes == target.stat().st_size
    assert names_in(tmp_path) == ["file"]
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~umask


@pytest.mark.parametrize("has_older", [True, False])
def test_a_failed_writer_leaves_what_was_there(tmp_path: Path, has_older: bool) -> None:  # noqa: FBT001
    target = tmp_path / "file"
    if has_older:
        target.write_text("older")

    def fail_half_way() -> None:
        with replace_file(target) as file:
            file.write(b"half")
            file.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert [path.read_text() for path in tmp_path.iterdir()] == ["older"] * has_older


KILLED = """
import os, signal, sys
from pathlib import Path
from pipelines.system.files import replace_file
with replace_file(Path(sys.argv[1])) as file:
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), int(sys.argv[2]))
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_writer_leaves_nothing(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "file").write_text("older")
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "file"), str(int(number))], cwd=root, check=False, timeout=240
    )
    assert done.returncode == -number
    assert (tmp_path / "file").read_text() == "older"
    if hasattr(os, "O_TMPFILE"):
        assert names_in(tmp_path) == ["file"]


def test_links_are_followed_and_pipes_are_written(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("older")
    (tmp_path / "link").symlink_to("real")
    with replace_file(tmp_path / "link") as file:
        file.write(b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    with replace_file(tmp_path / "pipe") as file:
        file.write(b"through")
    reader.join(120)
    assert read == [b"through"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)


@pytest.mark.parametrize("target", ["nowhere/file.csv", "folder"])
def test_a_place_that_can_not_be_written_is_a_clear_error(sample: Exported, tmp_path: Path, target: str) -> None:
    (tmp_path / "folder").mkdir()
    with (
        open_batch(sample.snapshot, next(iter(sample.cells))) as batch,
        pytest.raises(BatchFileError, match=target),
    ):
        write_batch(batch, BatchFormat.CSV, tmp_path / target)
    assert names_in(tmp_path) == ["folder"]
    assert not list((tmp_path / "folder").iterdir())


def test_file_names_are_safe_and_tell_ids_apart() -> None:
    ids = [*AWKWARD_IDS, "..", ".", "a_b", "a\\b", "a:b", "CON", "é", "x" * 300, "x" * 301, "\n", "\udcff"]
    names = [file_name(batch_id, BatchFormat.CSV) for batch_id in ids]
    assert len({name.lower() for name in names}) == len(names)
    for name in names:
        assert Path(name).name == name
        assert name.startswith("batch-")
        assert name.isascii()
        assert len(name) < 110
    assert names[0] == "batch--kP3xWq9TzYbN_4mLs7Rd.csv"
    assert file_name("a/b", BatchFormat.XLSX) == "batch-a_b-c14cddc0.xlsx"


@pytest.mark.parametrize("batch_id", AWKWARD_IDS)
def test_batches_of_awkward_ids_are_found(awkward: Exported, batch_id: str) -> None:
    assert len(csv_rows(file_of(awkward.snapshot, batch_id, "csv"))) == 7


@pytest.mark.parametrize(
    ("wrong", "closest"),
    [("kP3xWq9TzYbN_4mLs7Rd", "-kP3xWq9TzYbN_4mLs7Rd"), ("with  space", "with space"), ("A/B", "a/b"), ("", "-")],
)
def test_an_unknown_batch_names_the_closest(awkward: Exported, wrong: str, closest: str) -> None:
    with pytest.raises(BatchNotFoundError) as caught:
        open_batch(awkward.snapshot, wrong)
    assert caught.value.found == shown_id(wrong)
    assert f"closest ids: {shown_id(closest)}" in caught.value.fix


def test_ids_that_no_database_holds_are_unknown(awkward: Exported) -> None:
    for wrong in ("\udcff", "a\udc80/b", "\x00", "x" * 1_000_000, "' OR 1=1 --"):
        with pytest.raises(BatchNotFoundError) as caught:
            open_batch(awkward.snapshot, wrong)
        assert len(str(caught.value)) < 1_000
        assert str(caught.value).isprintable()


def test_a_stream_reads_no_further_than_it_is_asked(sample: Exported, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_formats, "_BLOCK_CHARACTERS", 1)  # a part a row
    batch_id, cells = max(sample.cells.items(), key=lambda item: len(item[1]))
    batch = open_batch(sample.snapshot, batch_id)
    parts = stream_batch(batch, BatchFormat.CSV, SMALL)
    header, *some = itertools.islice(parts, 1 + 3 * SMALL.size.domains)
    assert header.count(b"\r\n") == 1
    assert [part.count(b"\r\n") for part in some] == [1, 1, 1, 1, 1, 1]
    assert len(cells) > 6
    batch.close()  # what was not asked for was not read
    with pytest.raises(SnapshotError):
        next(parts)


def test_a_switch_in_the_middle_of_a_stream_is_not_seen(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        names = [f"d{number}.example" for number in range(20)]
        domains = [
            {"id": number, "domain": name, "status": "success", "batch_id": "b", "company_name": "old"}
            for number, name in enumerate(names)
        ]
        candidates = [
            {"id": number, "domain_id": number, "lei_code": f"L{number}", "legal_name": "old"} for number in range(20)
        ]
        insert_source(connection, domains, candidates)
        settings = settings_for(database, tmp_path)
        old = export(settings)
        streams = []
        for batch_format in (BatchFormat.CSV, BatchFormat.NDJSON):
            batch = open_batch(old, "b")
            parts = stream_batch(batch, batch_format, SMALL)
            streams.append((batch, [next(parts)], parts))
        connection.execute("UPDATE domains SET company_name = 'new'")
        connection.execute("UPDATE gleif_candidates SET legal_name = 'new'")
        connection.execute("DELETE FROM domains WHERE id % 3 = 0")
        connection.commit()
    new = export(settings)
    assert new.folder != old.folder
    shutil.rmtree(old.folder)  # as retention does
    (csv_batch, csv_parts, csv_rest), (json_batch, json_parts, json_rest) = streams
    with csv_batch, json_batch:
        rows = csv_rows(b"".join([*csv_parts, *csv_rest]))[1:]
        objects = [json.loads(line) for line in b"".join([*json_parts, *json_rest]).splitlines()]
    assert [(row[0], row[1], row[9]) for row in rows] == [(name, "old", "old") for name in names]
    assert [(o["domain"], o["candidates"][0]["legal_name"]) for o in objects] == [(name, "old") for name in names]
    assert {row[1] for row in csv_rows(file_of(new, "b", "csv"))[1:]} == {"new"}


def test_texts_larger_than_the_memory_of_a_chunk_are_split_not_lost(database: Database, tmp_path: Path) -> None:
    sizes = [12_000_000] * 4 + [30_000_000]
    with database.connect() as connection:
        create_source_tables(connection)
        for number, size in enumerate(sizes):
            connection.execute(
                "INSERT INTO domains (id, domain, status, batch_id, about_section_summary)"
                " VALUES (%s, 'd.example', 'success', 'b', repeat(%s, %s))",
                (number, "abcdefghi\n", size // 10),
            )
        connection.commit()
    snapshot = export(settings_for(database, tmp_path))
    with open_batch(snapshot, "b") as batch:
        parts = [len(part) for part in stream_batch(batch, BatchFormat.NDJSON)]
    assert len(parts) > 1
    assert sum(parts) > sum(sizes) * 11 // 10


def test_a_snapshot_that_lost_its_file_is_a_clear_error(sample: Exported, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(sample.snapshot.folder, copy)
    damaged = type(sample.snapshot)(copy, sample.snapshot.manifest)
    damaged.database_path.unlink()
    with pytest.raises(SnapshotError, match=r"exports\.duckdb can't be read"):
        open_batch(damaged, "b")
