import shutil
from collections.abc import Callable
from datetime import UTC
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipelines.errors import SnapshotError
from pipelines.snapshots.opening import current_snapshot, list_snapshots, load_manifest
from tests.publish.kit import Kit, new_id
from tests.publish.rows import domain_rows

pytestmark = pytest.mark.fast


def test_nothing_published_is_none(kit: Kit) -> None:
    assert current_snapshot(kit.export_dir) is None
    assert list_snapshots(kit.export_dir).snapshots == ()


def test_current_is_resolved_once(kit: Kit) -> None:
    kit.publish(1, {0: range(5)})
    snapshot = kit.current()
    assert snapshot.folder == kit.export_dir.resolve() / "snapshots" / new_id(1)
    scan = snapshot.scan("domain_exports")
    kit.publish(2, {0: range(7)})
    assert scan.select(pl.len()).collect().item() == 5
    assert snapshot.scan("domain_exports").collect().height == 5
    assert kit.current().scan("domain_exports").collect().height == 7


def test_a_dangling_link_names_the_way_out(published: Kit) -> None:
    shutil.rmtree(published.current().folder)
    with pytest.raises(SnapshotError, match="not there"):
        current_snapshot(published.export_dir)


def test_a_link_that_loops_is_our_error(kit: Kit) -> None:
    kit.export_dir.mkdir()
    (kit.export_dir / "current").symlink_to("current")
    with pytest.raises(SnapshotError):
        current_snapshot(kit.export_dir)


@pytest.mark.parametrize("read", [current_snapshot, list_snapshots])
def test_a_folder_that_can_not_be_looked_at_is_our_error(tmp_path: Path, read: Callable[[Path], object]) -> None:
    with pytest.raises(SnapshotError, match=r"can't be read.*too long"):
        read(tmp_path / ("x" * 300))


@pytest.mark.parametrize(
    "content", [None, b"", b"{", b"[]", b'{"id": "secret"}', b"\xff\xfe"], ids=["missing", *map(str, range(5))]
)
def test_a_manifest_that_is_none_names_the_file_and_not_its_content(published: Kit, content: bytes | None) -> None:
    folder = published.current().folder
    path = folder / "manifest.json"
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SnapshotError, match=r"manifest\.json") as caught:
        load_manifest(folder)
    assert "secret" not in str(caught.value)


def test_files_come_from_the_manifest_in_name_order(kit: Kit) -> None:
    kit.publish(1, {0: range(5), 1: range(100, 103)})
    folder = kit.current().folder / "domain_exports"
    shutil.copy(folder / "000000.parquet", folder / "00000000-copy.parquet")
    assert [p.name for p in kit.current().parquet_files("domain_exports")] == ["000000.parquet", "000001.parquet"]
    rows = kit.current().scan("domain_exports").collect()
    assert rows["domain_id"].to_list() == [*range(5), *range(100, 103)]


def test_an_unknown_table_names_the_known_ones(published: Kit) -> None:
    with pytest.raises(SnapshotError, match="has no table nonsense") as caught:
        published.current().scan("nonsense")
    assert "domain_exports" in caught.value.expected


def test_a_lost_file_is_named(published: Kit) -> None:
    published.current().parquet_files("domain_exports")[0].unlink()
    with pytest.raises(SnapshotError, match=r"has lost domain_exports/000000\.parquet"):
        published.current().scan("domain_exports")


def test_the_connection_is_read_only_and_fetches_no_extensions(published: Kit) -> None:
    with published.current().connect() as connection, published.current().connect() as second:
        assert connection.sql("SELECT count(*) FROM domain_exports").fetchall() == [(9,)]
        assert second.sql("SELECT count(*) FROM domain_exports").fetchall() == [(9,)]
        settings = "SELECT value FROM duckdb_settings() WHERE name LIKE 'auto%known_extensions'"
        assert connection.sql(settings).fetchall() == [("false",), ("false",)]
        with pytest.raises(duckdb.InvalidInputException, match="read-only"):
            connection.execute("DELETE FROM domain_exports")


def test_a_lost_database_is_our_error(published: Kit) -> None:
    published.current().database_path.unlink()
    with pytest.raises(SnapshotError, match=r"exports\.duckdb"):
        published.current().connect()


def test_listing_leaves_hidden_folders_out_and_reports_unreadable_ones(published: Kit) -> None:
    (published.export_dir / "snapshots" / ".x.building").mkdir()
    (published.export_dir / "snapshots" / "somebody's notes").mkdir()
    listing = list_snapshots(published.export_dir)
    assert [s.manifest.id for s in listing.snapshots] == [new_id(1)]
    assert list(listing.unreadable) == ["somebody's notes"]


def test_the_manifest_survives_its_file(kit: Kit) -> None:
    manifest = kit.publish(1)
    assert load_manifest(kit.current().folder) == manifest
    assert manifest.created_at.tzinfo is not None
    assert manifest.created_at.utcoffset() == UTC.utcoffset(None)


def test_scan_and_duckdb_agree_on_types(published: Kit) -> None:
    with published.current().connect() as connection:
        in_duckdb = connection.sql("FROM domain_exports").pl()
    assert in_duckdb.schema == published.current().scan("domain_exports").collect_schema() == domain_rows([1]).schema
