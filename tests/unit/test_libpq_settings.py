"""Each setting of libpq has a decision: passed on to connectorx, without effect, or refused."""

import pytest
from psycopg import pq
from pydantic import SecretStr

from pipelines.errors import SourceError
from pipelines.source import reader_url
from pipelines.source.connection import SourceAddress, connect
from pipelines.source.libpq import default_file, root_certificate
from tests.oracle.postgres import Cluster

pytestmark = pytest.mark.fast

KNOWN = {option.keyword.decode() for option in pq.Conninfo.get_defaults()}
DECIDED = [reader_url.PASSED_ON, reader_url.WITHOUT_EFFECT, frozenset(reader_url.REFUSED)]


def test_a_home_folder_that_can_not_be_searched_has_no_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", f"/{'x' * 300}")  # one that another account owns is the usual case
    assert default_file("root.crl") is None
    assert root_certificate({"sslrootcert": f"/{'x' * 300}"}) is None


def test_every_setting_of_this_libpq_is_decided_once() -> None:
    assert frozenset().union(*DECIDED) >= KNOWN, "a newer libpq has settings that are not decided"
    assert sum(map(len, DECIDED)) == len(frozenset().union(*DECIDED))


@pytest.mark.integration
def test_a_setting_that_is_not_decided_is_refused_by_its_name(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = cluster.database("postgres").url
    address = SourceAddress(SecretStr(f"{url}{'&' if '?' in url else '?'}tcp_user_timeout=1000"), is_sample=False)
    with connect(address, "lei-test") as connection:
        assert reader_url.reader_url(connection, address, "lei-test")
        monkeypatch.setattr(reader_url, "WITHOUT_EFFECT", reader_url.WITHOUT_EFFECT - {"tcp_user_timeout"})
        with pytest.raises(SourceError, match="tcp_user_timeout in DATABASE_URL"):
            reader_url.reader_url(connection, address, "lei-test")
