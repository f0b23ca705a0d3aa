"""Who reads from object storage: by this package, by engines, by a pull; damage there, and retention meanwhile."""

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest
from deltalake import DeltaTable

from pipelines.errors import ExportError, RemoteError, SettingsError, SnapshotError
from pipelines.query.snapshots import open_snapshot
from pipelines.remote.pulling import pull_snapshot
from pipelines.remote.pushing import push_snapshot
from pipelines.remote.reading import open_remote
from pipelines.settings import load_settings
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.run_lock import hold_run_lock
from tests.publish.kit import Kit, new_id
from tests.remote.kit import Bucket, assert_published, assert_same_rows, folder_objects, push, settings_for

pytestmark = pytest.mark.extended


def change(kit: Kit, number: int) -> None:
    kit.publish_changes(number, {0: range(1, 6), 1: range(100, 104 + number)})


def pull(export_dir: Path, url: str, snapshot_id: str | None = None):
    settings = load_settings({"export_dir": export_dir})
    with hold_run_lock(export_dir) as lock:
        return pull_snapshot(settings, lock, open_remote(url, snapshot_id), now=lambda: datetime.now(UTC))


@pytest.mark.standard
def test_one_snapshot_over_all_tables_whatever_is_published_meanwhile(kit: Kit, bucket: Bucket) -> None:
    push(kit, bucket.url)
    first = kit.current()
    opened = open_snapshot(bucket.url)
    change(kit, 2)
    push(kit, bucket.url)
    for table in first.table_names:
        assert_same_rows(opened.scan(table), first.scan(table))
        assert_same_rows(open_snapshot(bucket.url, first.manifest.id).scan(table), first.scan(table))
        assert_same_rows(open_snapshot(bucket.url).scan(table), open_snapshot(kit.export_dir).scan(table))
        # The same by an engine that knows Delta only: the version stands in the record.
        version = opened.record.tables[table].version
        pandas = DeltaTable(f"{bucket.url}/{table}", version=version).to_pandas()
        assert len(pandas) == first.record_of(table).rows
    with pytest.raises(RemoteError, match="no table nothing"):
        opened.scan("nothing")
    with pytest.raises(RemoteError, match=r"has no snapshots/none/snapshot\.json"):
        open_snapshot(bucket.url, "none")


def test_pull_brings_the_very_files_and_reuses_those_it_has(kit: Kit, bucket: Bucket, tmp_path: Path) -> None:
    push(kit, bucket.url)
    there = tmp_path / "reader"
    pulled = pull(there, bucket.url)
    assert folder_objects(pulled.folder) == folder_objects(kit.current().folder)
    assert pulled.manifest == kit.current().manifest
    verify_snapshot(pulled)
    change(kit, 2)
    push(kit, bucket.url)
    newer = pull(there, bucket.url)
    assert open_snapshot(there).manifest.id == newer.manifest.id == new_id(2)
    same = "domain_exports/000000.parquet"
    assert (newer.folder / same).samefile(pulled.folder / same)
    assert pull(there, bucket.url, new_id(1)).manifest.id == new_id(1)
    assert open_snapshot(there).manifest.id == new_id(2), "an older one does not become current"


@pytest.mark.parametrize("place", ["/outside", "../outside", "domain_exports/../../outside", ".hidden"])
def test_a_manifest_can_not_name_a_place_outside_of_its_folder(
    kit: Kit, bucket: Bucket, tmp_path: Path, place: str
) -> None:
    """Who may write to the bucket must not write to the machine that pulls."""
    push(kit, bucket.url)
    name = f"snapshots/{new_id(1)}/manifest.json"
    manifest = bucket.read(name).decode()
    for honest in ('"path":"domain_exports/000000.parquet"', '"path":"exports.duckdb"', f'"id":"{new_id(1)}"'):
        spaced = honest.replace('":"', '": "')
        found = honest if honest in manifest else spaced
        assert found in manifest
        bucket.write(name, manifest.replace(found, f'{found.split(":")[0]}:"{place}"').encode())
        with pytest.raises(RemoteError, match=r"manifest\.json .* can't be read"):
            pull(tmp_path / "reader", bucket.url)
    bucket.write(name, manifest.replace(f'"{new_id(1)}"', f'"{new_id(2)}"').encode())
    with pytest.raises(RemoteError, match="is of another snapshot"):
        pull(tmp_path / "reader", bucket.url)
    assert not (tmp_path / "outside").exists()
    assert not Path("/outside").exists()


def test_an_older_snapshot_is_brought_back_for_a_rollback(kit: Kit, bucket: Bucket, tmp_path: Path) -> None:
    push(kit, bucket.url)
    there = tmp_path / "reader"
    old = pull(there, bucket.url)
    change(kit, 2)
    push(kit, bucket.url)
    pull(there, bucket.url)
    shutil.rmtree(old.folder)
    settings = load_settings({"export_dir": there, "keep_snapshots": 1, "keep_hours": 0})
    later = datetime.now(UTC) + timedelta(days=30)
    with hold_run_lock(there) as lock:
        pulled = pull_snapshot(settings, lock, open_remote(bucket.url, new_id(1)), now=lambda: later)
    verify_snapshot(pulled)
    assert open_snapshot(there).manifest.id == new_id(2)


def test_pull_builds_the_database_where_it_was_not_published(kit: Kit, bucket: Bucket, tmp_path: Path) -> None:
    push(kit, bucket.url, publish_database=False)
    pulled = pull(tmp_path / "reader", bucket.url)
    verify_snapshot(pulled)
    with pulled.connect() as connection, kit.current().connect() as published:
        query = "SELECT * FROM candidate_exports ORDER BY domain_id, candidate_id"
        assert connection.execute(query).fetchall() == published.execute(query).fetchall()


def test_damage_is_found_and_mended(kit: Kit, bucket: Bucket, tmp_path: Path, monkeypatch, capsys) -> None:
    from assets.cli.remote_commands import verify_published  # noqa: PLC0415

    push(kit, bucket.url)
    settings = settings_for(kit, bucket.url)
    verify_published(settings, None)
    assert "is what was published: 7 tables" in capsys.readouterr().out
    name = next(name for name in bucket.objects() if name.startswith("candidate_exports/000001"))
    content = bytearray(bucket.read(name))
    content[len(content) // 2] ^= 0xFF
    bucket.write(name, bytes(content))
    with pytest.raises(SnapshotError, match=name):
        verify_published(settings, None)
    with pytest.raises(RemoteError, match=f"{name} .* is damaged"):
        pull(tmp_path / "reader", bucket.url)
    assert open_remote(bucket.url).record.snapshot_id == new_id(1)
    push(kit, bucket.url, check_all=True)
    verify_published(settings, None)
    bucket.delete(name)
    with pytest.raises(SnapshotError, match="objects_complete"):
        verify_published(settings, None)
    push(kit, bucket.url)
    verify_published(settings, None)


def test_retention_deletes_what_no_kept_snapshot_needs_and_nothing_else(kit: Kit, bucket: Bucket) -> None:
    """Twelve snapshots, two kept: a reader of the oldest kept one goes on; foreign objects stay."""
    foreign = {"foreign.parquet": b"1", "domain_exports/foreign.parquet": b"2", "snapshots/foreign": b"3"}
    foreign["snapshots/"] = b""  # as the console of a store makes a folder
    for name, content in foreign.items():
        bucket.write(name, content)
    bucket.client.put_object(
        Bucket=bucket.name, Key="exports2/domain_exports/000000-0123456789abcdef.parquet", Body=b"4"
    )
    settings = settings_for(kit, bucket.url, publish_keep_snapshots=2, publish_keep_hours=1)
    now = datetime.now(UTC)
    # The clock of the push runs ahead of the store's: an hour a push, and more than PUBLISH_KEEP_HOURS behind the last.
    for number in range(1, 13):
        if number > 1:
            kit.publish_changes(number, {0: range(1, 6), 1: range(100, 101 + number)})
        if number == 12:
            reader = open_remote(bucket.url)
            expected = {table: kit_rows(reader, table) for table in reader.table_names}
        push_snapshot(settings, kit.current(), now=lambda number=number: now + timedelta(hours=2 * number))
    for table, rows in expected.items():
        assert reader.scan(table).collect().equals(rows, null_equal=True)
    assert_published(bucket.url, kit.current())
    objects = bucket.objects()
    assert {name.split("/")[1] for name in objects if name.endswith("/snapshot.json")} == {new_id(11), new_id(12)}
    assert sum(name.startswith("domain_exports/000001") for name in objects) == 2
    assert sum(name.startswith("snapshots/") and name.endswith("exports.duckdb") for name in objects) == 2
    log = [name for name in objects if name.startswith("domain_exports/_delta_log/0")]
    assert not any(name.endswith("00000000000000000000.json") for name in log), "the log before a checkpoint goes"
    assert all(bucket.read(name) == content for name, content in foreign.items())
    assert bucket.client.head_object(Bucket=bucket.name, Key="exports2/domain_exports/000000-0123456789abcdef.parquet")
    with pytest.raises(RemoteError, match=new_id(3)):
        open_remote(bucket.url, new_id(3))


def test_what_a_clock_that_was_ahead_published_takes_no_place_of_what_came_after(kit: Kit, bucket: Bucket) -> None:
    settings = settings_for(kit, bucket.url, publish_keep_snapshots=2, publish_keep_hours=1)
    now = datetime.now(UTC)
    for number, at in enumerate((now + timedelta(days=400), now + timedelta(days=401), now, now, now), 1):
        if number > 1:
            change(kit, number)
        push_snapshot(settings, kit.current(), now=lambda at=at, number=number: at + timedelta(hours=3 * number))
    kept = {name.split("/")[1] for name in bucket.objects() if name.endswith("/snapshot.json")}
    assert {new_id(4), new_id(5)} <= kept


def kit_rows(snapshot, table: str) -> pl.DataFrame:
    return snapshot.scan(table).collect()


def test_a_folder_is_a_store_too(kit: Kit, tmp_path: Path) -> None:
    url = f"file://{tmp_path}/store"
    push(kit, url)
    assert_published(url, kit.current())
    change(kit, 2)
    push(kit, url)
    assert_published(url, kit.current())
    assert pull(tmp_path / "reader", url).manifest == kit.current().manifest


def test_encryption_is_asked_for_by_the_variables_of_the_store(kit: Kit, bucket: Bucket, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SERVER_SIDE_ENCRYPTION", "AES256")
    push(kit, bucket.url)
    for name in bucket.objects():
        head = bucket.client.head_object(Bucket=bucket.name, Key=f"exports/{name}")
        assert head["ServerSideEncryption"] == "AES256", name


@pytest.mark.parametrize(
    "url",
    [
        "s3://",
        "bucket/prefix",
        "s3://key:secret@bucket/p",
        "s3://bucket:99999/p",
        "s3://bucket:443/p",
        "s3://bucket/p?x=1",
        "file:///",
        "http://x/y",
    ],
)
def test_a_url_that_cannot_be_used_is_refused_and_not_shown(url: str, monkeypatch) -> None:
    monkeypatch.setenv("PUBLISH_URL", url)
    with pytest.raises(SettingsError, match="PUBLISH_URL") as refused:
        load_settings()
    assert "secret" not in str(refused.value)
    with pytest.raises(ExportError):
        open_snapshot("s3://key:secret@bucket/p")


def test_the_bandwidth_has_a_limit(kit: Kit, bucket: Bucket) -> None:
    size = push(kit, bucket.url).sent_bytes
    slow = push(kit, f"{bucket.url}2", replace=True, publish_mb_per_s=size / 16e6)
    # It does not wait behind the last bytes, which are most of them. So a limit for 1 s was hardly seen: 0.49 s.
    assert slow.seconds > 1
