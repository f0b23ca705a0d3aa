"""Files beside the data: recorded, read-only, verified like the data, and gone with a run that fails."""

import hashlib
from pathlib import Path

import pytest

from pipelines.contracts.records import CheckRecord, FileRecord
from pipelines.errors import PublishError, SnapshotError
from pipelines.snapshots.folder import MakeExtras, SideFiles
from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.snapshots.verification import failed_checks, verify_files, verify_snapshot
from tests.forking import run_forked
from tests.publish.kit import Kit, flip_a_byte, new_id

pytestmark = pytest.mark.standard

PAGE = "<p>é</p>".encode()
WARNING = CheckRecord(table="snapshot", name="drawn", passed=False, severity="warn", metadata={"reason": "no ink"})


def making(files: dict[str, bytes], *checks: CheckRecord) -> MakeExtras:
    return lambda _snapshot, _previous: SideFiles(files, checks)


@pytest.fixture
def with_page(kit: Kit) -> Kit:
    kit.publish(1, extras=making({"page.html": PAGE}))
    return kit


def test_an_extra_file_is_written_recorded_and_read_only(with_page: Kit) -> None:
    current = with_page.current()
    path = current.folder / "page.html"
    assert path.read_bytes() == PAGE
    assert path.stat().st_mode & 0o777 == 0o444
    assert current.manifest.extras == (
        FileRecord(
            path="page.html",
            segment=None,
            rows=0,
            bytes=len(PAGE),
            sha256=hashlib.sha256(PAGE).hexdigest(),
            first_snapshot=new_id(1),
        ),
    )
    files = [path for path in current.folder.rglob("*") if path.is_file() and path.name != "manifest.json"]
    assert current.manifest.bytes == sum(path.stat().st_size for path in files)
    verify_snapshot(current)


def test_its_maker_sees_the_verified_snapshot_and_the_one_before(kit: Kit) -> None:
    seen: list[tuple[Snapshot, Snapshot | None]] = []

    def make(snapshot: Snapshot, previous: Snapshot | None) -> SideFiles:
        seen.append((snapshot, previous))
        assert snapshot.scan("domain_exports").collect().height == 9
        assert not (snapshot.folder / "manifest.json").exists()
        return SideFiles()

    first = kit.publish(1, extras=make)
    second = kit.publish(2, extras=make)
    assert [previous and previous.manifest for _, previous in seen] == [None, first]
    reported = seen[1][0].manifest
    assert (reported.id, reported.tables, reported.database, reported.checks) == (
        second.id,
        second.tables,
        second.database,
        second.checks,
    )
    assert set(second.timings_s) - set(reported.timings_s) == {"publish_extras"}
    assert second.extras == ()


def test_what_it_warns_of_is_recorded_and_said(kit: Kit) -> None:
    said: list[str] = []
    manifest = kit.publish(1, extras=making({}, WARNING), on_progress=lambda progress: said.append(progress.what))
    assert manifest.checks[-1] == WARNING
    assert "warning: snapshot.drawn (reason: no ink)" in said
    assert kit.current().manifest == manifest


@pytest.mark.parametrize("position", [0.0, 0.99])
def test_a_flipped_byte_is_found(with_page: Kit, position: float) -> None:
    flip_a_byte(with_page.current().folder / "page.html", position)
    with pytest.raises(SnapshotError) as caught:
        verify_snapshot(with_page.current())
    assert "damaged: ['page.html']" in caught.value.found


def test_a_missing_or_unrecorded_file_is_found(with_page: Kit) -> None:
    folder = with_page.current().folder
    (folder / "page.html").rename(folder / "other.html")
    found = {check.name: check.metadata for check in failed_checks(verify_files(with_page.current()))}
    assert found["files_unchanged"]["missing"] == ["page.html"]
    assert found["no_stray_files"]["stray"] == ["other.html"]


@pytest.mark.parametrize("name", ["exports.duckdb", "domain_exports", "no/such/folder"])
def test_a_name_that_is_taken_publishes_nothing(with_page: Kit, name: str) -> None:
    with pytest.raises(PublishError):
        with_page.publish(2, extras=making({name: b""}))
    assert_only_first_is_there(with_page)


def test_a_maker_that_raises_publishes_nothing(with_page: Kit) -> None:
    def make(_snapshot: Snapshot, _previous: Snapshot | None) -> SideFiles:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        with_page.publish(2, extras=make)
    assert_only_first_is_there(with_page)


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.publish.kit import Kit
Kit(Path(sys.argv[1])).publish(2, extras=lambda *_: os.kill(os.getpid(), signal.SIGKILL))
"""


def test_killed_while_it_is_made(with_page: Kit) -> None:
    run_forked(KILLED, with_page.root, status=-9)
    assert with_page.current().manifest.id == new_id(1)
    with_page.publish(3, extras=making({"page.html": PAGE}), lock_wait_seconds=5)
    verify_snapshot(with_page.current())
    assert sorted(path.name for path in (with_page.export_dir / "snapshots").iterdir()) == [new_id(1), new_id(3)]


def test_a_manifest_of_an_earlier_version_has_none(with_page: Kit) -> None:
    """As written before there were such files: the field is missing."""
    folder = with_page.current().folder
    (folder / "page.html").unlink()
    manifest = folder / "manifest.json"
    text = with_page.current().manifest.model_copy(update={"extras": ()}).model_dump_json(exclude={"extras"})
    assert '"extras"' not in text
    manifest.chmod(0o644)
    manifest.write_text(text)
    verify_snapshot(with_page.current())
    with_page.publish_changes(2, {0: range(9)})
    verify_snapshot(with_page.current())


def assert_only_first_is_there(kit: Kit) -> None:
    current = published_snapshot(kit.export_dir)
    assert current.manifest.id == new_id(1)
    assert [Path(path).name for path in (kit.export_dir / "snapshots").iterdir()] == [new_id(1)]
