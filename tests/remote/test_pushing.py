"""A push on a real S3 server over a socket: what lies there afterwards, and what is not sent again."""

import json

import polars as pl
import pytest

from pipelines.errors import RemoteConflictError
from tests.publish.kit import Kit
from tests.remote.kit import Bucket, assert_published, push

pytestmark = pytest.mark.standard


def test_every_table_is_there_and_unchanged_files_are_not_sent_again(kit: Kit, bucket: Bucket) -> None:
    first = push(kit, bucket.url)
    assert first.is_new
    assert_published(bucket.url, kit.current())
    files = sum(len(table.files) for table in kit.current().manifest.tables)
    assert first.sent_objects == files + 1  # exports.duckdb
    assert json.loads(bucket.read("current.json"))["sequence"] == 1

    again = push(kit, bucket.url)
    assert (again.is_new, again.sent_bytes) == (False, 0)
    assert again.record == first.record

    kit.publish_changes(2, {0: range(1, 6), 1: range(100, 104)}, values={1: {"company_name": "another"}})
    second = push(kit, bucket.url)
    assert_published(bucket.url, kit.current())
    assert second.sent_objects == 2  # one segment of domain_exports, exports.duckdb
    versions = {name: table.version for name, table in second.record.tables.items()}
    assert versions == {name: int(name == "domain_exports") for name in versions}
    log = bucket.read("domain_exports/_delta_log/00000000000000000001.json").decode()
    actions = [next(iter(json.loads(line))) for line in log.splitlines()]
    assert sorted(actions) == ["add", "commitInfo", "remove"], "a file that stays is in no action"
    assert kit.current().manifest.id in log
    older = pl.scan_delta(f"{bucket.url}/domain_exports", version=0)
    assert older.filter(company_name="another").collect().is_empty()


def test_statistics_let_engines_skip_files(kit: Kit, bucket: Bucket) -> None:
    push(kit, bucket.url)
    log = bucket.read("domain_exports/_delta_log/00000000000000000000.json").decode()
    adds = [json.loads(line)["add"] for line in log.splitlines() if '"add"' in line]
    found = [json.loads(add["stats"]) for add in adds]
    assert [(s["numRecords"], s["minValues"]["domain_id"], s["maxValues"]["domain_id"]) for s in found] == [
        (5, 1, 5),
        (4, 100, 103),
    ]
    assert found[0]["minValues"]["created_at"] == "2026-01-01T00:00:00.000001"
    assert found[0]["nullCount"]["recommendation"] == 3
    # Hostile values: skipping by them loses no row.
    remote, local = pl.scan_delta(f"{bucket.url}/domain_exports"), kit.current().scan("domain_exports")
    for condition in (
        pl.col("company_name") == "",
        pl.col("company_name") > "\u05d7",
        pl.col("created_at") == pl.lit("2026-01-01 00:00:00.000103").str.to_datetime(time_unit="us"),
        pl.col("domain_id").is_between(5, 100),
        pl.col("confidence_score") >= 85,
    ):
        assert remote.filter(condition).collect().height == local.filter(condition).collect().height


def test_an_empty_table_is_one(kit: Kit, bucket: Bucket) -> None:
    push(kit, bucket.url)
    entities = pl.scan_delta(f"{bucket.url}/entities").collect()
    assert (entities.height, entities.schema) == (0, kit.current().scan("entities").collect_schema())


def test_the_prefix_of_another_export_folder_is_refused(kit: Kit, bucket: Bucket, tmp_path_factory) -> None:
    push(kit, bucket.url)
    other = Kit(tmp_path_factory.mktemp("other"))
    other.publish(7)
    before = bucket.objects()
    with pytest.raises(RemoteConflictError, match="--replace"):
        push(other, bucket.url)
    assert bucket.objects() == before
    assert push(other, bucket.url, replace=True).is_new
    assert_published(bucket.url, other.current())


def test_without_the_database(kit: Kit, bucket: Bucket) -> None:
    push(kit, bucket.url, publish_database=False)
    assert_published(bucket.url, kit.current())
    assert not any(key.endswith("exports.duckdb") for key in bucket.objects())
