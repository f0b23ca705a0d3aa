"""What docs/object-storage.md and docs/security.md tell people to copy works: snippets, and the least rights."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest

from pipelines.errors import RemoteError
from pipelines.remote.reading import open_remote
from pipelines.remote.store import RemoteStore
from pipelines.remote.verification import verify_remote
from pipelines.snapshots.verification import failed_checks
from tests.forking import run_program
from tests.publish.kit import Kit, new_id
from tests.remote.kit import KEY_ID, SECRET, Bucket, assert_published, push, s3_server, store_environment

pytestmark = pytest.mark.standard

DOCS = Path(__file__).resolve().parents[2] / "docs"
SNIPPETS = re.findall(r"^```python\n(.*?)^```", (DOCS / "object-storage.md").read_text(), re.MULTILINE | re.DOTALL)
POLICY = re.search(r"^```json\n(.*?)^```", (DOCS / "security.md").read_text(), re.MULTILINE | re.DOTALL)


def test_snippets(kit: Kit, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in store_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    push(kit, Bucket(s3_endpoint, "bucket", "prefix").url)
    assert len(SNIPPETS) == 3
    for snippet in SNIPPETS:
        done = run_program([sys.executable, "-c", snippet], timeout=240)
        assert done.returncode == 0, done.stderr
        assert done.stdout


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, str], dict[str, str]]]:
    """A server that enforces rights: its address, the keys of a publisher and of one who may only read."""
    assert POLICY is not None
    policy = json.loads(POLICY[1])
    reader = json.loads(POLICY[1])
    reader["Statement"][1]["Action"] = ["s3:GetObject"]
    # moto asks for this right on the bucket when several objects are deleted; S3 asks on each object.
    policy["Statement"].append({"Effect": "Allow", "Action": ["s3:DeleteObject"], "Resource": "arn:aws:s3:::bucket"})
    with s3_server(INITIAL_NO_AUTH_ACTION_COUNT="7") as endpoint:
        options = {"endpoint_url": endpoint, "region_name": "us-east-1"}
        root = {"aws_access_key_id": KEY_ID, "aws_secret_access_key": SECRET}
        iam = boto3.client("iam", **options, **root)
        keys = []
        for name, document in (("publisher", policy), ("reader", reader)):
            iam.create_user(UserName=name)
            iam.put_user_policy(UserName=name, PolicyName="least", PolicyDocument=json.dumps(document))
            key = iam.create_access_key(UserName=name)["AccessKey"]
            keys.append({"AWS_ACCESS_KEY_ID": key["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"]})
        boto3.client("s3", **options, **root).create_bucket(Bucket="bucket")
        for name, value in store_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        yield endpoint, keys[0], keys[1]


@pytest.mark.extended  # a server of its own
def test_the_least_rights_are_enough_and_nothing_less(kit: Kit, guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    _, publisher, reader = guarded

    def become(who: dict[str, str]) -> None:
        for name, value in who.items():
            monkeypatch.setenv(name, value)

    become(publisher)
    url = "s3://bucket/prefix"
    first = push(kit, url)
    assert all(check.passed for check in first.checks)
    assert_published(url, kit.current())
    RemoteStore(url, 1).delete(["none"])
    for outside in ("s3://bucket/elsewhere", "s3://bucket-of-others/prefix"):
        with pytest.raises(RemoteError, match=r"403|no such bucket"):
            push(kit, outside)

    become(reader)
    remote = open_remote(url, retry_seconds=1)
    assert failed_checks(verify_remote(remote.store, remote.manifest(), remote.record)) == []
    kit.publish_changes(2, {0: range(1, 6), 1: range(100, 109)})
    with pytest.raises(RemoteError, match="403"):
        RemoteStore(url, 1).delete(["current.json"])
    with pytest.raises(RemoteError, match="403") as refused:
        push(kit, url)
    assert reader["AWS_ACCESS_KEY_ID"] not in str(refused.value)
    assert open_remote(url, retry_seconds=1).record.snapshot_id == new_id(1)
