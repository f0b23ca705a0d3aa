"""Pushes that are killed, refused, or not answered: what is current stays whole, and the next push completes."""

import os
import re
import signal
from multiprocessing.connection import wait

import pytest

from assets.cli.remote_commands import verify_published
from pipelines.errors import ExportError, RemoteConflictError, RemoteError
from pipelines.remote.pushing import push_snapshot
from pipelines.remote.reading import open_remote
from pipelines.remote.store import Pace, RemoteStore
from tests.publish.kit import Kit, new_id
from tests.remote.kit import (
    KEY_ID,
    SECRET,
    Bucket,
    Proxy,
    Request,
    assert_published,
    assert_same_rows,
    push,
    settings_for,
    start_push,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.extended

# The steps of a push by the first request of each.
STEPS = {
    "a data object": r"PUT domain_exports/[^/]+\.parquet",
    "the database": r"PUT snapshots/[^/]+/exports\.duckdb",
    "the manifest": r"PUT snapshots/[^/]+/manifest\.json",
    "the first commit": r"PUT domain_exports/_delta_log/.*\.json",
    "the last commit": r"PUT candidate_exports/_delta_log/.*\.json",
    "the record": r"PUT snapshots/[^/]+/snapshot\.json",
    "the switch": r"PUT current\.json",
}
STANDARD = pytest.mark.standard


def is_step(step: str, request: Request) -> bool:
    return re.fullmatch(STEPS[step], request.name) is not None


def publish_change(kit: Kit, number: int) -> None:
    """Both large tables change, in their second segment."""
    kit.publish_changes(number, {0: range(1, 6), 1: range(100, 104 + number)})


@pytest.mark.parametrize(
    ("step", "when"),
    [
        pytest.param(step, when, marks=STANDARD if (step, when) == ("the first commit", "after") else ())
        for step in STEPS
        for when in ("before", "after")
    ],
)
def test_killed_then_caught_up(kit: Kit, bucket: Bucket, flaky: Proxy, step: str, when: str) -> None:
    push(kit, bucket.url)
    publish_change(kit, 2)
    process = start_push(kit, bucket.url, flaky.endpoint)

    def kill(request: Request) -> None:
        if is_step(step, request):
            process.kill()
            wait([process.sentinel])  # not join: the test joins it, and one of two would get no status

    def decide(request: Request) -> str:
        kill(request)
        return "cut" if is_step(step, request) else "pass"

    if when == "before":
        flaky.decide = decide
    else:
        flaky.passed = kill
    process.join(180)
    assert process.exitcode == -signal.SIGKILL, "the push ended before that step"
    flaky.decide, flaky.passed = lambda _: "pass", lambda _: None

    seen = open_remote(bucket.url, retry_seconds=20)
    assert seen.record.snapshot_id == new_id(2 if (step, when) == ("the switch", "after") else 1)
    for table in seen.table_names:
        assert seen.scan(table).collect().height == seen.record.tables[table].rows
    publish_change(kit, 3)
    push(kit, bucket.url)
    assert_published(bucket.url, kit.current())


@pytest.mark.parametrize("step", ["a data object", "the first commit", "the switch"])
@pytest.mark.parametrize("fault", ["503", "cut", pytest.param("cut_after", marks=STANDARD)])
def test_a_fault_that_passes_is_not_noticed(kit: Kit, bucket: Bucket, flaky: Proxy, step: str, fault: str) -> None:
    """Also where the answer to a write that was made gets lost: the repetition is refused, and was ours."""
    faults = iter([fault, fault])
    flaky.decide = lambda request: next(faults, "pass") if is_step(step, request) else "pass"
    push(kit, bucket.url, publish_retry_seconds=30)
    assert next(faults, None) is None
    assert_published(bucket.url, kit.current())


@pytest.mark.parametrize("step", ["a data object", "the first commit", "the switch"])
@pytest.mark.parametrize("fault", ["503", "403", "stall"])
def test_a_fault_that_stays_leaves_what_is_current(
    kit: Kit, bucket: Bucket, flaky: Proxy, step: str, fault: str
) -> None:
    push(kit, bucket.url)
    publish_change(kit, 2)
    flaky.decide = lambda request: fault if is_step(step, request) else "pass"
    with pytest.raises(RemoteError) as failed:
        push(kit, bucket.url, publish_retry_seconds=1)
    text = str(failed.value)
    assert {"503": "503", "403": "403", "stall": "no answer in time"}[fault] in text
    assert KEY_ID not in text
    assert SECRET not in text
    assert kit.current().manifest.id == new_id(2)
    assert open_remote(bucket.url).record.snapshot_id == new_id(1)
    flaky.decide = lambda _: "pass"
    push(kit, bucket.url)
    assert_published(bucket.url, kit.current())


@pytest.mark.standard
@pytest.mark.parametrize("step", ["a data object", "the database"])
def test_what_is_damaged_on_its_way_is_not_published(kit: Kit, bucket: Bucket, flaky: Proxy, step: str) -> None:
    """Nor by the next push, which finds it there with the right size."""
    flaky.decide = lambda request: "damage" if is_step(step, request) else "pass"
    with pytest.raises(RemoteError, match="is not what was published"):
        push(kit, bucket.url)
    assert "current.json" not in bucket.objects()
    flaky.decide = lambda _: "pass"
    push(kit, bucket.url)
    assert_published(bucket.url, kit.current())
    verify_published(settings_for(kit, bucket.url), None)


@pytest.mark.standard
def test_no_bucket_and_no_server(kit: Kit, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RemoteError, match="no such bucket"):
        push(kit, "s3://no-such-bucket/exports")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(RemoteError, match="no connection"):
        push(kit, bucket.url, publish_retry_seconds=0.2)


@pytest.mark.parametrize(
    "moment", ["a data object", "the first commit", "the record", pytest.param("the switch", marks=STANDARD)]
)
def test_two_publishers(kit: Kit, bucket: Bucket, flaky: Proxy, moment: str, tmp_path) -> None:
    """The second one publishes whole while the first one is in a step: the loser says so, and what it lost by stays."""
    push(kit, bucket.url)
    other = kit.copy_to(tmp_path / "other")
    publish_change(kit, 2)
    publish_change(other, 3)
    rivals = iter([other])

    def decide(request: Request) -> str:
        if is_step(moment, request) and (rival := next(rivals, None)):
            push_snapshot(settings_for(rival, bucket.url), rival.current())
        return "pass"

    flaky.decide = decide
    with pytest.raises(RemoteConflictError, match="Another publisher"):
        push(kit, bucket.url)
    remote = open_remote(bucket.url)
    assert remote.record.snapshot_id == new_id(3)
    for table in remote.table_names:
        assert_same_rows(remote.scan(table), other.current().scan(table))
    # Newest versions that the loser committed are put right by the next push.
    push(other, bucket.url)
    assert_published(bucket.url, other.current())


def test_a_failed_upload_leaves_no_parts(kit: Kit, bucket: Bucket, flaky: Proxy, monkeypatch) -> None:
    monkeypatch.setattr("pipelines.remote.store.PART_BYTES", 5 * 1024 * 1024)
    large = kit.current().folder / "large.bin"
    large.parent.chmod(0o755)
    large.write_bytes(bytes(12 * 1024 * 1024))
    store = RemoteStore(bucket.url, 1)
    flaky.decide = lambda request: "403" if "partNumber=2" in request.path else "pass"
    with pytest.raises(ExportError, match="403"):
        store.upload("large.bin", large)
    assert bucket.open_uploads() == 0
    stopped = RemoteStore(bucket.url, 1)

    def stop(request: Request) -> str:
        if "partNumber=1" in request.path:
            stopped.stop()
        return "pass"

    flaky.decide = stop
    stopped.pace = Pace(5)  # so slow that the second part is not begun when the first one is there
    with pytest.raises(ExportError):
        stopped.upload("large.bin", large)
    assert bucket.open_uploads() == 0
    assert "large.bin" not in bucket.objects()
    flaky.decide = lambda _: "pass"
    store.upload("large.bin", large)
    assert bucket.objects()["large.bin"] == large.stat().st_size


def test_ctrl_c_ends_a_push_at_once(kit: Kit, bucket: Bucket, flaky: Proxy) -> None:
    """At 10 kB a second it would take minutes."""
    process = start_push(kit, bucket.url, flaky.endpoint, publish_mb_per_s=0.01)
    wait_until(lambda: any(".parquet" in name for name in bucket.objects()))
    os.kill(process.pid or 0, signal.SIGINT)
    process.join(60)
    assert process.exitcode == 1
    assert "current.json" not in bucket.objects()
    push(kit, bucket.url)
    assert_published(bucket.url, kit.current())
