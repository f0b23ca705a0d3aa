"""One S3 server for each process of the tests, a bucket of its own for each test."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.publish.kit import Kit
from tests.remote.kit import Bucket, Proxy, s3_server, store_environment

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def proxy(s3_endpoint: str) -> Iterator[Proxy]:
    proxy = Proxy(s3_endpoint)
    yield proxy
    proxy.close()


@pytest.fixture
def bucket(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """A new bucket; the variables of the store lead to its server."""
    for name, value in store_environment(s3_endpoint).items():
        monkeypatch.setenv(name, value)
    return Bucket(s3_endpoint, f"bucket-{next(_NUMBERS)}")


@pytest.fixture
def flaky(proxy: Proxy, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> Proxy:
    """The proxy before the bucket's server."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
    return proxy


@pytest.fixture(scope="session")
def published_once(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    """A published snapshot; tests get copies."""
    kit = Kit(tmp_path_factory.mktemp("remote"))
    kit.publish(1)
    return kit


@pytest.fixture
def kit(published_once: Kit, tmp_path: Path) -> Kit:
    """An export folder with one snapshot."""
    return published_once.copy_to(tmp_path / "publisher")
