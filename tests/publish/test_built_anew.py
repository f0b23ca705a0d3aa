"""When a copy of the DuckDB file will not do: it is built again and says why. The same for damaged Parquet files."""

import re
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from pipelines.errors import PublishError
from pipelines.snapshots.database import build_database, update_database
from pipelines.snapshots.opening import list_snapshots
from pipelines.snapshots.parquet import write_parquet
from pipelines.snapshots.table_changes import TableChanges
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.files import sha256_of
from tests.publish.kit import BEFORE, Kit, Said, flip_a_byte, new_id, staging_record
from tests.publish.rows import DOMAIN_EXPORTS, domain_rows

pytestmark = pytest.mark.standard


def damage_database(kit: Kit) -> None:
    flip_a_byte(kit.current().database_path)


def lose_database(kit: Kit) -> None:
    kit.current().database_path.unlink()


def change_version(kit: Kit) -> None:
    kit.edit_manifest(versions={**kit.current().manifest.versions, "duckdb": "1.9.9"})


def forget_size(kit: Kit) -> None:
    kit.edit_manifest(rebuilt_database_bytes=0)


def grow_before(kit: Kit) -> None:
    kit.edit_manifest(rebuilt_database_bytes=1_000)


def grow_by_the_change(kit: Kit) -> None:
    kit.edit_manifest(rebuilt_database_bytes=int(kit.current().database_path.stat().st_size / 1.5) + 1)


def other_segments(kit: Kit) -> None:
    kit.edit_manifest(segment_size=77)


def tamper(kit: Kit) -> None:
    """Rows of a segment that does not change are gone, and the manifest has the digest of that."""
    path = kit.current().database_path
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM candidate_exports WHERE domain_id = 3")
    record = kit.current().manifest.database
    kit.edit_manifest(database=record.model_copy(update={"sha256": sha256_of(path), "bytes": path.stat().st_size}))


@pytest.mark.parametrize(
    ("prepare", "why"),
    [
        (damage_database, r"exports\.duckdb is damaged"),
        (lose_database, r"exports\.duckdb is missing"),
        (change_version, "the DuckDB version is not that of snapshot"),
        (other_segments, "the SEGMENT_SIZE is not that"),
        (forget_size, "is not known"),
        (grow_before, "it has grown from 1,000 bytes"),
        (grow_by_the_change, "it has grown from"),
        (tamper, r"did not pass candidate_exports\.database_rows"),
    ],
)
def test_the_database_is_built_anew(base: Kit, prepare: Callable[[Kit], None], why: str) -> None:
    prepare(base)
    said = Said()
    manifest = base.publish_changes(2, {**BEFORE, 1: range(100, 200), 2: range(200, 300)}, 3000, on_progress=said)
    assert re.search(why, said.why_anew)
    assert manifest.rebuilt_database_bytes == manifest.database.bytes
    verify_snapshot(base.current())


def test_a_database_of_wrong_rows_in_a_changed_segment_is_put_right(base: Kit) -> None:
    """Rows are compared, not trusted: what the older file has too much of or lacks does not matter."""
    path = base.current().database_path
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute("DELETE FROM domain_exports WHERE domain_id = 103")
        connection.execute("UPDATE domain_exports SET domain = 'wrong' WHERE domain_id = 104")
    record = base.current().manifest.database
    edited = record.model_copy(update={"sha256": sha256_of(path), "bytes": path.stat().st_size})
    base.edit_manifest(database=edited)
    said = Said()
    base.publish_changes(2, {**BEFORE, 1: range(100, 111)}, on_progress=said)
    assert not said.why_anew
    verify_snapshot(base.current())


def test_too_many_changes(tmp_path: Path) -> None:
    path = tmp_path / "domain_exports" / "000000.parquet"
    record = write_parquet(domain_rows(range(50)), path, table=DOMAIN_EXPORTS, segment=0)
    database = tmp_path / "exports.duckdb"
    build_database(database, [DOMAIN_EXPORTS], {"domain_exports": [path]})
    write_parquet(domain_rows(range(50), status="failed"), path, table=DOMAIN_EXPORTS, segment=0)
    bounds = staging_record(new_id(1)).segmentation.bounds
    changes = {"domain_exports": TableChanges((record,), (0,), "domain_id", bounds)}
    with pytest.raises(PublishError, match="could not be updated"):
        update_database(database, [DOMAIN_EXPORTS], changes, 99)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["domain_exports"]


def test_a_damaged_file_that_only_the_base_has_stops_the_run(base: Kit) -> None:
    flip_a_byte(base.current().folder / "domain_exports" / "000000.parquet")
    said = Said()
    with pytest.raises(PublishError, match=r"domain_exports/000000\.parquet is not what was written") as caught:
        # The build step cannot know: it links what the base has.
        publish_links(base, said)
    assert "--full-refresh" in caught.value.fix
    assert f"domain_exports/000000.parquet of snapshot {new_id(1)} is missing or damaged" in "".join(said)
    assert base.current().manifest.id == new_id(1)
    assert len(list_snapshots(base.export_dir).snapshots) == 1


def publish_links(kit: Kit, said: Said) -> None:
    snapshot, staging_id = kit.current(), new_id(2)
    built = []
    for record in snapshot.manifest.tables:
        (kit.tables_dir(staging_id) / record.name).mkdir(parents=True)
        for file in record.files:
            (kit.tables_dir(staging_id) / file.path).hardlink_to(snapshot.folder / file.path)
        built.append(record.model_copy(update={"staging_id": staging_id}))
    kit.publish(2, built=built, on_progress=said)


def test_a_damaged_file_is_replaced_by_a_built_one(base: Kit) -> None:
    flip_a_byte(base.current().folder / "candidate_exports" / "000001.parquet")
    (base.current().folder / "rejected_rows" / "all.parquet").unlink()
    said = Said()
    base.publish_changes(2, BEFORE, values={3: {"confidence_score": 0.0}}, linked=False, on_progress=said)
    for path in ("candidate_exports/000001.parquet", "rejected_rows/all.parquet"):
        assert any(path in what and "missing or damaged" in what for what in said)
    verify_snapshot(base.current())
