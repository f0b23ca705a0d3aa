"""psycopg asks and connectorx reads: a run is sure that both are at one server, and stops where they are not."""

import itertools
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from pipelines.build.diagnosis import diagnose
from pipelines.errors import SourceError
from pipelines.export import run_export
from pipelines.source import same_server
from tests.exporting import export, settings_for
from tests.integration.kit import assert_says
from tests.oracle.postgres import Database
from tests.oracle.server import Server, embedded_programs, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.random_rows import random_rows
from tests.relay import Relay

pytestmark = [pytest.mark.integration, pytest.mark.extended]

_SSL_REQUEST = struct.pack("!ii", 8, 80_877_103)


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Server, Server]]:
    """Two servers with the same tables, and other rows."""
    with new_server(embedded_programs()) as first, new_server(embedded_programs()) as second:
        for seed, server in enumerate((first, second)):
            with server.database().connect() as connection:
                create_source_tables(connection)
                insert_source(connection, *random_rows(seed, 40))
        yield first, second


class Switchboard(Relay):
    """Leads each connection to the port chosen by its first bytes."""

    def __init__(self, choose: Callable[[bytes], int]) -> None:
        self._choose = choose
        super().__init__()

    def _connect(self, client: socket.socket) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._choose(client.recv(8, socket.MSG_PEEK))))


def test_an_address_that_spreads_connections_over_servers(servers: tuple[Server, Server], tmp_path: Path) -> None:
    ports = itertools.cycle([server.port for server in servers])
    with Switchboard(lambda _: next(ports)) as board:
        settings = settings_for(servers[0].over_tcp(board.port), tmp_path, read_connections=2)
        with pytest.raises(SourceError) as caught:
            run_export(settings)
        assert_says(caught.value, "Several servers stand behind the address", "started at", "point DATABASE_URL at one")
        assert [f.topic for f in diagnose(settings) if f.verdict == "failed"] == ["pooler"]


def test_one_server_for_the_questions_and_another_for_the_rows(servers: tuple[Server, Server], tmp_path: Path) -> None:
    # libpq asks for TLS first, connectorx is told that the server has none.
    first, second = servers
    with Switchboard(lambda begin: first.port if begin == _SSL_REQUEST else second.port) as board:
        settings = settings_for(first.over_tcp(board.port), tmp_path, read_connections=1)
        with pytest.raises(SourceError) as caught:
            run_export(settings)
        assert_says(caught.value, "Several servers stand behind the address")
        assert [f.topic for f in diagnose(settings) if f.verdict == "failed"] == ["row connections"]


def test_rows_of_a_server_that_only_says_it_is_the_same(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It answers all that is asked as the real one would, and can't wait for a lock of the real one."""

    def pretend(_: object, query: str, __: object) -> pa.Table:
        with psycopg.connect(servers[0].database().conninfo, row_factory=psycopg.rows.dict_row) as connection:
            row = connection.execute(query.partition(", true AS met")[0].encode()).fetchone()
        assert row is not None
        tcp = {"address": "127.0.0.1", "port": servers[0].port}
        return pa.Table.from_pylist([row | tcp])

    monkeypatch.setattr(same_server, "read_query", pretend)
    with pytest.raises(SourceError) as caught:
        run_export(settings_for(servers[0].over_tcp(), tmp_path, read_connections=1))
    assert_says(caught.value, "do not reach the server that was asked")


@pytest.mark.parametrize("spread", ["load_balance_hosts=random", "target_session_attrs=read-write"])
def test_a_list_of_servers_is_one_server_for_all_of_a_run(
    servers: tuple[Server, Server], tmp_path: Path, spread: str
) -> None:
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    url = f"postgresql://postgres@{hosts}/postgres?{spread}"
    settings = settings_for(Database("", url, ""), tmp_path, read_connections=4)
    for _ in range(4):
        assert [finding for finding in diagnose(settings) if finding.verdict == "failed"] == []
    assert export(settings).manifest.id


def test_a_network_address_that_libpq_has_from_the_environment_holds_for_both(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A socket folder in the URL, and PGHOSTADDR: libpq connects over TCP."""
    monkeypatch.setenv("PGHOSTADDR", "127.0.0.1")
    settings: Any = settings_for(servers[0].database(), tmp_path, read_connections=1)
    assert [finding for finding in diagnose(settings) if finding.verdict == "failed"] == []
