"""A hot standby as the source: it exports as the primary does, and says so when recovery takes its rows away."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.build.extraction import Acceptance
from pipelines.errors import ExtractError
from pipelines.snapshots.guards import is_same_source
from tests.exporting import assert_agrees, before_it_reads, export, settings_for
from tests.integration.kit import assert_says, run_sql, scalar, session
from tests.oracle.postgres import Database
from tests.oracle.server import Server, embedded_programs, new_folder, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]


@pytest.fixture(scope="module")
def pair() -> Iterator[tuple[Server, Server]]:
    """A primary with rows, and its standby, which waits for nobody."""
    with (
        new_server(embedded_programs(), ["max_wal_senders = 3", "wal_level = replica"]) as primary,
        new_folder() as folder,
    ):
        with primary.database().connect() as connection:
            create_source_tables(connection)
            insert_source(connection, *random_rows(8, 200))
        standby = Server(primary.programs, folder)
        address = ["-h", str(primary.folder), "-p", str(primary.port), "-U", "postgres"]
        standby.run("pg_basebackup", *address, "-D", "data", "-R", "-c", "fast", "--no-sync")
        standby.configure(["hot_standby = on", "max_standby_streaming_delay = 0", "hot_standby_feedback = off"])
        standby.start()
        try:
            yield primary, standby
        finally:
            standby.stop("immediate")


def caught_up(primary: Server, standby: Server) -> None:
    with session(primary.database()) as connection:
        position = scalar(connection, "SELECT pg_current_wal_flush_lsn()::text")
    with session(standby.database()) as connection:
        wait_until(lambda: scalar(connection, f"SELECT pg_last_wal_replay_lsn() >= '{position}'"))


def test_a_standby_is_a_source(pair: tuple[Server, Server], tmp_path: Path) -> None:
    primary, standby = pair
    settings = settings_for(standby.database(), tmp_path, segment_size=100)
    first = export(settings)
    assert_agrees(standby.database(), first)
    run_sql(primary.database(), "UPDATE domains SET company_name = 'changed' WHERE id % 9 = 0")
    caught_up(primary, standby)
    second = export(settings)
    assert second.manifest.base_snapshot == first.manifest.id
    assert_agrees(standby.database(), second)
    # The primary has another address: once that is accepted, no row is read again.
    third = export(settings_for(primary.database(), tmp_path, segment_size=100), Acceptance(new_source=True))
    assert third.manifest.base_snapshot == second.manifest.id
    assert third.manifest.changed_segments == ()


def test_a_list_of_hosts_is_one_address_whichever_answers(
    pair: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failover is the reason to have a list: the next run goes on with the other server."""
    hosts, ports = (",".join(str(value(server)) for server in pair) for value in (lambda s: s.folder, lambda s: s.port))
    url = f"postgresql:///{pair[0].database().name}?user=postgres&host={hosts}&port={ports}"
    settings = settings_for(Database("", url, ""), tmp_path, segment_size=100)
    with monkeypatch.context() as patch:
        patch.setenv("PGTARGETSESSIONATTRS", "read-write")
        first = export(settings)
    caught_up(*pair)
    with monkeypatch.context() as patch:
        patch.setenv("PGTARGETSESSIONATTRS", "standby")
        second = export(settings)
    assert second.manifest.source.address == first.manifest.source.address
    assert str(pair[1].folder).casefold() in second.manifest.source.address
    # Earlier versions recorded the host that answered.
    source = first.manifest.source.model_copy(update={"address": first.manifest.source.address.partition(",")[0]})
    assert is_same_source(source, second.manifest.source.identity, second.manifest.source.address)


def test_recovery_that_takes_rows_away_cancels_the_read(pair: tuple[Server, Server], tmp_path: Path) -> None:
    primary, standby = pair

    def vacuum() -> None:
        run_sql(primary.database(), "DELETE FROM gleif_candidates WHERE id % 2 = 0", "VACUUM gleif_candidates")
        caught_up(primary, standby)

    settings = settings_for(standby.database(), tmp_path, read_connections=1)
    with pytest.raises(ExtractError) as caught:
        export(settings, on_progress=before_it_reads(vacuum))
    assert_says(caught.value, "Fix: ")
    assert_agrees(standby.database(), export(settings))
