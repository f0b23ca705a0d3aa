"""A run sees every change of what is read, whoever made it, and no change where there is none (DESIGN 3.8)."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.build.extraction import Acceptance
from pipelines.errors import SourceChangedError
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.faults.kit import debian_programs
from tests.integration.kit import run_sql
from tests.integration.test_incremental import execute, filled
from tests.oracle.postgres import Cluster, Database
from tests.oracle.server import Server, embedded_programs, new_server
from tests.oracle.source import create_source_tables, fill_source, insert_source
from tests.published import PublishedSources

pytestmark = [pytest.mark.integration, pytest.mark.standard]

SEGMENT = 100
NEW_SOURCE = Acceptance(new_source=True)


def simple_rows(count: int) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Domain rows 1 to count, with one candidate each."""
    domains = [{"id": n, "domain": f"d{n}.example", "status": "success", "batch_id": "b"} for n in range(1, count + 1)]
    candidates = [
        {
            "id": n,
            "domain_id": n,
            "lei_code": f"L{n}",
            "legal_name": f"N{n}",
            "rank_position": n % 5,
            "created_at": None,
        }
        for n in range(1, count + 1)
    ]
    return domains, candidates


def publish_simple_rows(database: Database, export_dir: Path) -> None:
    fill_source(database, *simple_rows(600))
    export(settings_for(database, export_dir, segment_size=SEGMENT))


@pytest.fixture
def exported(database: Database, published_sources: PublishedSources, tmp_path: Path) -> tuple[Settings, Snapshot]:
    configured = settings_for(database, tmp_path / "exports", segment_size=SEGMENT, min_rows_pct=0)
    return configured, published_sources.publish(database, configured.export_dir, publish_simple_rows)


# What the changes of SEEN need of the rows and the tables.
PREPARATION = [
    "UPDATE gleif_candidates SET weighted_score = 0 WHERE id = 3",
    "UPDATE domains SET company_name = 'company' WHERE id = 5",
    "UPDATE domains SET error_message = 'text', failure_category = NULL WHERE id = 7",
    "ALTER TABLE domains DROP COLUMN guessed_country",
    "CREATE TABLE child (LIKE domains INCLUDING DEFAULTS)",
    "INSERT INTO child (id, domain, status, batch_id) VALUES (301, 'c', 'failed', 'b')",
    "DELETE FROM domains WHERE id = 301",
]
SEEN = {
    "a default of a new column": ["ALTER TABLE domains ADD COLUMN guessed_country text DEFAULT 'NO'"],
    "a child table comes": [
        "ALTER TABLE child ADD COLUMN guessed_country text DEFAULT 'NO'",
        "ALTER TABLE child INHERIT domains",
    ],
    # A hash of rows that adds up the hashes of columns does not see these.
    "two rows exchange a value": [
        "UPDATE gleif_candidates SET rank_position = CASE id WHEN 11 THEN 2 ELSE 1 END WHERE id IN (11, 12)"
    ],
    "two rows exchange all values but the id": [
        "UPDATE domains a SET domain = b.domain, company_name = b.company_name FROM domains b"
        " WHERE (a.id, b.id) IN ((21, 22), (22, 21))"
    ],
    "two columns are renamed to each other": [
        "ALTER TABLE domains RENAME company_name TO kept",
        "ALTER TABLE domains RENAME recommendation TO company_name",
        "ALTER TABLE domains RENAME kept TO recommendation",
    ],
    "a value moves to the next column": [
        "UPDATE domains SET failure_category = error_message, error_message = NULL WHERE id = 7"
    ],
    "another type with other values": [
        "ALTER TABLE gleif_candidates ALTER COLUMN rank_position TYPE smallint USING (rank_position + 1)"
    ],
    "NULL becomes a blank text": ["UPDATE domains SET company_name = '' WHERE id = 9"],
    "0 becomes -0": ["UPDATE gleif_candidates SET weighted_score = '-0' WHERE id = 3"],
    "a text becomes as long in characters only": ["UPDATE domains SET domain = 'ď1.example' WHERE id = 1"],
    "a NULL domain_id": ["UPDATE gleif_candidates SET domain_id = NULL WHERE id = 4"],
}


@pytest.mark.parametrize("changes", [list(SEEN)[:6], list(SEEN)[6:]], ids=["of the first half", "of the second half"])
def test_every_change_of_what_is_read_is_seen(
    database: Database, exported: tuple[Settings, Snapshot], changes: list[str]
) -> None:
    configured, _ = exported
    execute(database, *PREPARATION)
    before = export(configured)
    for change in changes:
        execute(database, *SEEN[change])
        after = export(configured)
        assert after.manifest.id != before.manifest.id, change
        assert after.manifest.base_snapshot == before.manifest.id, change
        assert_agrees(database, after)
        before = after


UNSEEN = {
    "the same values are written again": ["UPDATE domains SET domain = domain"],
    "rows are deleted and inserted again": [
        "CREATE TABLE kept AS SELECT * FROM domains WHERE id < 120", "DELETE FROM domains WHERE id < 120",
        "INSERT INTO domains SELECT * FROM kept",
    ],
    "a table is truncated and filled in another order": [
        "CREATE TABLE all_kept AS TABLE gleif_candidates", "TRUNCATE gleif_candidates",
        "INSERT INTO gleif_candidates SELECT * FROM all_kept ORDER BY id DESC",
    ],
    "a table is dropped and made again with its columns in another order": [
        "CREATE TABLE other AS SELECT created_at, legal_name, lei_code, id, domain_id, rank_position"
        " FROM gleif_candidates",
        "DROP TABLE gleif_candidates", "ALTER TABLE other RENAME TO gleif_candidates",
    ],
    "a text becomes varchar": ["ALTER TABLE domains ALTER COLUMN company_name TYPE varchar(500)"],
    "int becomes smallint": ["ALTER TABLE gleif_candidates ALTER COLUMN rank_position TYPE smallint"],
    "a text becomes an enum": [
        "CREATE TYPE state AS ENUM ('success', 'failed')",
        "ALTER TABLE domains ALTER COLUMN status TYPE state USING status::state",
    ],
    "a column that is not known comes": ["ALTER TABLE domains ADD COLUMN review_priority int DEFAULT 3"],
    "a known column without values goes": ["ALTER TABLE domains DROP COLUMN recommendation"],
    "a partitioned table takes the rows": [
        "ALTER TABLE domains RENAME TO whole",
        "CREATE TABLE domains (LIKE whole INCLUDING DEFAULTS) PARTITION BY HASH (id)",
        *(f"CREATE TABLE p{n} PARTITION OF domains FOR VALUES WITH (MODULUS 3, REMAINDER {n})" for n in range(3)),
        "INSERT INTO domains SELECT * FROM whole",
    ],
    "a view takes its name": [
        "ALTER TABLE domains RENAME TO real", "CREATE VIEW domains AS SELECT * FROM real",
    ],
}  # fmt: skip


def test_what_changes_nothing_that_is_read_publishes_nothing(
    database: Database, exported: tuple[Settings, Snapshot]
) -> None:
    configured, first = exported
    for change, statements in UNSEEN.items():
        execute(database, *statements)
        assert export(configured).manifest.id == first.manifest.id, change
    assert_agrees(database, first)


def test_a_table_is_rewritten_and_nothing_is_read(database: Database, exported: tuple[Settings, Snapshot]) -> None:
    configured, first = exported
    with database.connect(autocommit=True) as connection:
        connection.execute("VACUUM FULL domains")
        connection.execute("CREATE INDEX by_name ON gleif_candidates (legal_name)")
        connection.execute("CLUSTER gleif_candidates USING by_name")
    assert export(configured).manifest.id == first.manifest.id


@pytest.mark.parametrize("writes", [[], ["UPDATE domains SET retry_count = 1 WHERE id = 500"]])
def test_a_renamed_label_of_an_enum_is_seen(database: Database, tmp_path: Path, writes: list[str]) -> None:
    """Published were 500 old and 100 new labels where one row was written after the change."""
    with database.connect() as connection:
        connection.execute("CREATE TYPE es AS ENUM ('ACTIVE', 'INACTIVE')")
        create_source_tables(connection, columns={"gleif_candidates": {"entity_status": "es"}})
        domains, candidates = simple_rows(600)
        insert_source(connection, domains, [{**row, "entity_status": "ACTIVE"} for row in candidates])
    configured = settings_for(database, tmp_path, segment_size=SEGMENT)
    first = export(configured)
    execute(database, "ALTER TYPE es RENAME VALUE 'ACTIVE' TO 'ISSUED'", *writes)
    second = export(configured)
    assert second.manifest.base_snapshot == first.manifest.id
    found = second.scan("candidate_exports").collect()["entity_status"].value_counts(name="rows").rows()
    assert found == [("ISSUED", 600)]
    assert_agrees(database, second)


def test_a_view_is_read_only_where_it_changed(database: Database, tmp_path: Path) -> None:
    filled(database)
    execute(
        database,
        "CREATE SCHEMA views",
        "CREATE VIEW views.domains AS TABLE domains",
        "CREATE VIEW views.gleif_candidates AS TABLE gleif_candidates",
    )
    configured = settings_for(database, tmp_path, source_schema="views", segment_size=SEGMENT)
    first = export(configured)
    assert export(configured).manifest.id == first.manifest.id
    execute(database, "UPDATE domains SET retry_count = 31 WHERE id < 100")
    second = export(configured)
    assert second.manifest.base_snapshot == first.manifest.id
    assert len(second.manifest.changed_segments) < len(second.manifest.tables[0].files)
    assert_agrees(database, second)
    # Nobody wrote a row: the view says something else of them.
    execute(
        database,
        "DROP VIEW views.domains",
        "CREATE VIEW views.domains AS SELECT id, domain, status, batch_id, upper(company_name) AS company_name"
        " FROM domains",
    )
    third = export(configured)
    assert third.manifest.id != second.manifest.id
    names = third.scan("domain_exports").collect()["company_name"].drop_nulls()
    plain = names.filter(names.str.contains(r"^[ -~]+$"))  # PostgreSQL and Polars differ in what else is upper case
    assert len(plain) > 100
    assert plain.str.to_uppercase().equals(plain)


def put_back(server: Server) -> None:
    """Set the server's disk back to its copy."""
    server.stop("immediate")
    shutil.rmtree(server.data)
    shutil.move(server.folder / "copy", server.data)
    server.start()


def test_a_disk_that_is_set_back_is_seen(tmp_path: Path) -> None:
    """The server gives the same transaction numbers again, on the same timeline."""
    with new_server(embedded_programs()) as server:
        database = server.database()
        fill_source(database, *simple_rows(30))
        run_sql(database, "CREATE INDEX ON domains (company_name)")
        server.stop()
        shutil.copytree(server.data, server.folder / "copy", copy_function=shutil.copy2)
        for path in (server.folder / "copy", *(server.folder / "copy").rglob("*")):
            shutil.chown(path, server.data.stat().st_uid, server.data.stat().st_gid)
        server.start()
        configured = settings_for(database, tmp_path, segment_size=SEGMENT)
        run_sql(database, "UPDATE domains SET company_name = 'BEFORE' WHERE id = 3")
        before = written_by(database)
        first = export(configured)
        put_back(server)
        run_sql(database, "UPDATE domains SET company_name = 'AFTER' WHERE id = 3")
        assert written_by(database) == before, "the case of this test: the same number for another write"
        second = export(configured)
        assert second.manifest.id != first.manifest.id
        assert_agrees(database, second)


def written_by(database: Database) -> tuple[Any, ...]:
    with database.connect() as connection:
        row = connection.execute("SELECT xmin::text, ctid::text FROM domains WHERE id = 3").fetchone()
    assert row is not None
    return row


def restart(server: Server) -> None:
    server.stop()
    server.start()


def crash(server: Server) -> None:
    server.stop("immediate")
    server.start()


@pytest.mark.parametrize("event", [restart, crash])
def test_after_a_restart_or_a_crash_nothing_is_read_again(tmp_path: Path, event: Callable[[Server], None]) -> None:
    with new_server(embedded_programs()) as server:
        database = server.database()
        fill_source(database, *simple_rows(30))
        configured = settings_for(database, tmp_path)
        first = export(configured)
        event(server)
        assert export(configured).manifest.id == first.manifest.id


def test_letter_case_in_a_case_insensitive_column_is_seen(tmp_path: Path) -> None:
    """Such a collation calls `Acme` and `ACME` equal, and hashes them equal."""
    with new_server(debian_programs()) as server:
        database = server.database()
        execute(
            database,
            "CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)",
        )
        fill_source(database, *simple_rows(30), columns={"domains": {"company_name": "text COLLATE any_case"}})
        execute(database, "UPDATE domains SET company_name = 'Acme' WHERE id = 3")
        configured = settings_for(database, tmp_path)
        first = export(configured)
        execute(database, "UPDATE domains SET company_name = 'ACME' WHERE id = 3")
        second = export(configured)
        assert second.manifest.id != first.manifest.id
        assert second.scan("domain_exports").collect()["company_name"].drop_nulls().to_list() == ["ACME"]


# --- another server, another address


def test_a_copy_in_another_database_is_another_source_and_reads_only_what_differs(
    cluster: Cluster, exported: tuple[Settings, Snapshot]
) -> None:
    configured, first = exported
    with cluster.new_database() as other:
        fill_source(other, *simple_rows(600))
        elsewhere = settings_for(other, configured.export_dir, segment_size=SEGMENT)
        with pytest.raises(SourceChangedError):
            export(elsewhere)
        second = export(elsewhere, NEW_SOURCE)
        # Nothing differs, but whose copy it is: that is published, and no row is read.
        assert second.manifest.base_snapshot == first.manifest.id
        assert second.manifest.changed_segments == ()
        assert second.manifest.source.identity != first.manifest.source.identity
        verify_snapshot(second)
        assert_agrees(other, second)
        assert export(elsewhere).manifest.id == second.manifest.id
        with pytest.raises(SourceChangedError):
            export(configured)
        execute(other, "UPDATE domains SET retry_count = 5 WHERE id = 250")
        third = export(elsewhere)
        assert third.manifest.changed_segments == ("000002",)
        assert_agrees(other, third)


def test_the_same_cluster_at_another_address_is_a_copy_or_a_move(tmp_path: Path) -> None:
    with new_server(embedded_programs()) as server:
        by_socket, by_tcp = server.database(), server.over_tcp()
        fill_source(by_socket, *simple_rows(30))
        first = export(settings_for(by_socket, tmp_path))
        elsewhere = settings_for(by_tcp, tmp_path)
        with pytest.raises(SourceChangedError, match="another address") as caught:
            export(elsewhere)
        assert f"127.0.0.1:{server.port}" in caught.value.found
        assert "--accept-new-source" in caught.value.fix
        (tmp_path / "current").unlink()
        with pytest.raises(SourceChangedError):
            export(elsewhere)
        second = export(elsewhere, NEW_SOURCE)
        assert second.manifest.changed_segments == ()
        assert second.manifest.sequence == first.manifest.sequence + 1
        assert export(elsewhere).manifest.id == second.manifest.id
