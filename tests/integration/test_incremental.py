"""Only what changed is read, and the result is that of a full refresh, cell by cell (DESIGN 3.5, 4)."""

import random
from functools import partial
from pathlib import Path
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.contracts.tables import DERIVED_TABLES, published_tables
from pipelines.extract.connection import SourceAddress
from pipelines.extract.snapshot import open_snapshot
from pipelines.reading.snapshots import Snapshot
from pipelines.reading.verification import verify_snapshot
from pipelines.run import export as run_module
from pipelines.run.deriving import build_derived_tables
from pipelines.run.export import run_export
from pipelines.settings import Settings
from tests.exporting import export, settings_for
from tests.hostile import random_rows
from tests.oracle.compare import assert_same, oracle_frame, read_duckdb_face, read_parquet_face
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import create_source_tables, insert_source
from tests.published import PublishedSources

pytestmark = [pytest.mark.integration, pytest.mark.standard]

SEGMENT = 100
Connection = psycopg.Connection[Any]


def assert_agrees(database: Database, snapshot: Snapshot) -> None:
    """Both faces equal the oracle; in DuckDB by ORDER BY only: replaced segments go to the end (DESIGN 4)."""
    with database.connect() as connection:
        for table in published_tables(include_full_data=snapshot.manifest.include_full_data):
            wanted = oracle_frame(connection, table)
            assert_same(read_parquet_face(snapshot.folder, table.name), wanted, what=f"Parquet {table.name}")
            assert_same(read_duckdb_face(snapshot.folder, table), wanted, what=f"DuckDB {table.name}")


def filled(database: Database, seed: int = 5, rows: int = 300, **types: str) -> None:
    with database.connect() as connection:
        create_source_tables(connection, columns={"domains": dict(types)} if types else None)
        insert_source(connection, *random_rows(seed, rows))


def execute(database: Database, *statements: str) -> None:
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def publish_base(database: Database, export_dir: Path) -> None:
    filled(database)
    export(settings_for(database, export_dir, segment_size=SEGMENT))


@pytest.fixture
def exported(database: Database, published_sources: PublishedSources, tmp_path: Path) -> tuple[Settings, Snapshot]:
    configured = settings_for(database, tmp_path / "exports", segment_size=SEGMENT)
    return configured, published_sources.publish(database, configured.export_dir, publish_base)


def test_nothing_changed_publishes_nothing_new(exported: tuple[Settings, Snapshot]) -> None:
    configured, first = exported
    assert export(configured).manifest.id == first.manifest.id
    assert '"unchanged"' in (configured.export_dir / "last_checked.json").read_text()
    assert export(configured, full_refresh=True).manifest.sequence == first.manifest.sequence + 1


def test_only_changed_segments_are_read_and_the_rest_are_links(
    database: Database, exported: tuple[Settings, Snapshot]
) -> None:
    configured, first = exported
    with database.connect() as connection:
        (domain_id,) = connection.execute("SELECT max(id) FROM domains").fetchone() or (0,)
    execute(database, f"UPDATE domains SET company_name = 'x' WHERE id = {domain_id}")
    second = export(configured)
    assert second.manifest.base_snapshot == first.manifest.id
    assert second.manifest.changed_segments == (f"{domain_id // SEGMENT:08d}",)
    for file in second.manifest.tables[0].files:
        is_link = (second.folder / file.path).stat().st_ino == (first.folder / file.path).stat().st_ino
        assert is_link == (file.segment != domain_id // SEGMENT)
    assert second.database_path.stat().st_nlink == 1, "exports.duckdb is never a link"
    assert_agrees(database, second)
    verify_snapshot(second)


# Change, and the derived tables that depend on nothing of it.
WITHOUT_EFFECT = {
    "UPDATE domains SET retry_count = 5, error_message = 'x' WHERE id < 50":
        ["unique_domains", "entities", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE gleif_candidates SET weighted_score = 7 WHERE id < 50":
        ["unique_domains", "entities", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE domains SET company_name = 'other' WHERE id < 50":
        ["entities", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE gleif_candidates SET legal_form = 'x' WHERE id < 50":
        ["unique_domains", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE domains SET processing_time_ms = 1 WHERE id < 50":
        ["unique_domains", "entities", "jurisdiction_summaries"],
}  # fmt: skip


@pytest.mark.parametrize("change", WITHOUT_EFFECT)
def test_derived_tables_that_depend_on_nothing_that_changed_are_links(
    database: Database, exported: tuple[Settings, Snapshot], change: str
) -> None:
    configured, first = exported
    execute(database, change)
    second = export(configured)
    assert second.manifest.base_snapshot == first.manifest.id
    taken_over = [
        table.name
        for table in DERIVED_TABLES
        if (second.parquet_files(table.name)[0].stat().st_ino == first.parquet_files(table.name)[0].stat().st_ino)
    ]
    assert taken_over == WITHOUT_EFFECT[change]
    assert_agrees(database, second)


def test_only_rows_of_changed_keys_are_computed(database: Database, exported: tuple[Settings, Snapshot]) -> None:
    configured, _ = exported
    with database.connect() as connection:
        (domain_id,) = connection.execute(
            "SELECT min(domain_id) FROM gleif_candidates JOIN domains d ON d.id = domain_id"
            " WHERE trim(lei_code || legal_name || batch_id || status) > ''"
        ).fetchone() or (0,)
    execute(database, f"UPDATE gleif_candidates SET legal_name = 'another name' WHERE domain_id = {domain_id}")
    said: list[str] = []
    run_export(configured, on_progress=lambda progress: said.append(progress.what))
    counts = {name: int(what.split()[0]) for name, _, what in (text.partition(": ") for text in said) if "anew" in what}
    assert counts.keys() == {table.name for table in DERIVED_TABLES}
    assert counts["unique_domains"] == 1
    assert 1 <= counts["entities"] <= 15
    assert counts["batch_summaries"] == counts["jurisdiction_summaries"] == 0


@pytest.mark.parametrize("bucket_rows", [1, 5, 60])
def test_more_changed_rows_than_fit_are_computed_as_a_whole(
    database: Database, exported: tuple[Settings, Snapshot], bucket_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The border lies at twice the rows of a bucket: one table on this side, another on that one, in the same run."""
    configured, _ = exported
    monkeypatch.setattr(run_module, "build_derived_tables", partial(build_derived_tables, bucket_rows=bucket_rows))
    execute(database, *CHANGES["rows deleted"], "UPDATE domains SET company_name = 'x' WHERE id < 20")
    assert_agrees(database, export(configured))


CHANGES = {
    "update without a timestamp": ["UPDATE domains SET retry_count = 77 WHERE id % 7 = 1"],
    "candidate updated": ["UPDATE gleif_candidates SET rank_position = 0 WHERE id % 50 = 3"],
    "same values written again": ["UPDATE domains SET domain = domain WHERE id < 150"],
    "rows deleted": ["DELETE FROM gleif_candidates WHERE id % 5 = 0", "DELETE FROM domains WHERE id % 31 = 0"],
    "candidate moved to another segment": ["UPDATE gleif_candidates SET domain_id = domain_id + 200 WHERE id % 9 = 0"],
    "candidate loses its domain": ["UPDATE gleif_candidates SET domain_id = NULL WHERE id % 40 = 0"],
    "a segment's rows all go": [
        "DELETE FROM domains WHERE id / 100 = 2", "DELETE FROM gleif_candidates WHERE domain_id / 100 = 2",
    ],
    "domains of a segment go, candidates stay": ["DELETE FROM domains WHERE id / 100 = 3"],
    "a new segment": ["INSERT INTO domains (id, domain, status, batch_id) VALUES (99999, 'n.example', 'success', 'n')"],
    "a segment below zero": ["INSERT INTO domains (id, domain, status, batch_id) VALUES (-5, 'n.x', 'failed', 'n')"],
    "deleted and inserted again": [
        "CREATE TABLE kept AS SELECT * FROM domains WHERE id < 120", "DELETE FROM domains WHERE id < 120",
        "INSERT INTO domains SELECT * FROM kept", "DROP TABLE kept",
    ],
    "truncated and filled again": [
        "CREATE TABLE kept AS TABLE domains", "TRUNCATE domains",
        "INSERT INTO domains SELECT * FROM kept", "DROP TABLE kept",
    ],
    "rewritten": ["ALTER TABLE gleif_candidates ALTER COLUMN rank_position TYPE smallint USING (rank_position % 1000)"],
    "column dropped": ["ALTER TABLE domains DROP COLUMN recommendation, DROP COLUMN domain_hash"],
    "column added with a default": [
        "ALTER TABLE domains DROP COLUMN guessed_country",
        "ALTER TABLE domains ADD COLUMN guessed_country text DEFAULT 'NO'",
    ],
    "no candidate left": ["DELETE FROM gleif_candidates"],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_the_result_is_that_of_a_full_refresh(
    database: Database, exported: tuple[Settings, Snapshot], change: str
) -> None:
    configured, first = exported
    execute(database, *CHANGES[change])
    second = export(configured.model_copy(update={"min_rows_pct": 0}))
    assert second.manifest.id != first.manifest.id
    assert_agrees(database, second)
    verify_snapshot(second)
    assert export(configured.model_copy(update={"min_rows_pct": 0})).manifest.id == second.manifest.id


def test_updates_of_every_row_one_after_the_other_are_all_seen(database: Database, tmp_path: Path) -> None:
    """Ids 0 to 255 and xmin, hashed as one number, had the same sum after each update: nothing was read anew."""
    with database.connect() as connection:
        create_source_tables(connection)
        rows = [{"id": n, "domain": "d", "status": "success", "batch_id": "b"} for n in range(256)]
        insert_source(connection, rows, [])
    configured = settings_for(database, tmp_path, segment_size=1000)
    base = export(configured)
    seen = [digest_of_domains(configured)]
    for number in range(10):
        execute(database, f"UPDATE domains SET retry_count = {number}")
        seen.append(digest_of_domains(configured))
    assert len(set(seen)) == len(seen)
    assert export(configured).manifest.sequence == base.manifest.sequence + 1


def digest_of_domains(configured: Settings) -> str:
    assert configured.database_url is not None
    address = SourceAddress(configured.database_url, is_sample=False)
    with open_snapshot(address, "public", include_full_data=False, longest_s=60) as snapshot:
        (found,) = snapshot.take_prints(configured.segment_size)["domains"].values()
    return found.digest


def test_checks_of_content_speak_of_all_segments(database: Database, exported: tuple[Settings, Snapshot]) -> None:
    configured, _ = exported
    execute(database, "UPDATE domains SET level2_candidates_count = 99 WHERE id % 3 = 0")
    export(configured)
    execute(database, "UPDATE domains SET retry_count = 1 WHERE id < 100")
    partly = export(configured)
    whole = export(configured, full_refresh=True)
    assert partly.manifest.base_snapshot is not None
    for one, other in zip(partly.manifest.tables, whole.manifest.tables, strict=True):
        wanted = [check for check in other.checks if check.severity == "warn"]
        assert [check for check in one.checks if check.severity == "warn"] == wanted


@pytest.mark.parametrize(
    "other", [{"segment_size": 300}, {"include_full_data": True}], ids=["SEGMENT_SIZE", "INCLUDE_FULL_DATA"]
)
def test_a_setting_that_shapes_the_output_rebuilds_it(
    database: Database, exported: tuple[Settings, Snapshot], other: dict[str, Any]
) -> None:
    configured, first = exported
    second = export(configured.model_copy(update=other))
    assert second.manifest.id != first.manifest.id
    assert second.manifest.base_snapshot is None
    verify_snapshot(second)


def test_a_damaged_snapshot_is_rebuilt(database: Database, exported: tuple[Settings, Snapshot]) -> None:
    configured, first = exported
    victim = first.parquet_files("candidate_exports")[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 255
    victim.chmod(0o644)
    victim.write_bytes(content)
    second = export(configured)
    assert second.manifest.id != first.manifest.id
    assert_agrees(database, second)
    verify_snapshot(second)


def test_a_view_is_read_in_full_each_time(database: Database, tmp_path: Path) -> None:
    filled(database)
    execute(
        database,
        "CREATE SCHEMA views",
        "CREATE VIEW views.domains AS TABLE domains",
        "CREATE VIEW views.gleif_candidates AS TABLE gleif_candidates",
    )
    configured = settings_for(database, tmp_path, source_schema="views", segment_size=SEGMENT)
    first = export(configured)
    second = export(configured)
    assert first.manifest.prints == {}
    assert second.manifest.sequence == first.manifest.sequence + 1


def test_a_restored_dump_is_read_in_full(cluster: Cluster, database: Database, tmp_path: Path) -> None:
    """Two databases loaded alike may have equal xmin and other contents: the position tells them apart."""
    filled(database)
    configured = settings_for(database, tmp_path, segment_size=SEGMENT)
    first = export(configured)
    with cluster.new_database() as other:
        filled(other, seed=6)
        from pipelines.run.extraction import Acceptance  # noqa: PLC0415

        elsewhere = settings_for(other, tmp_path, segment_size=SEGMENT, min_rows_pct=0)
        second = export(elsewhere, Acceptance(new_source=True))
        assert second.manifest.base_snapshot is None
        assert second.manifest.sequence == first.manifest.sequence + 1
        assert_agrees(other, second)


def mutate(connection: Connection, chance: random.Random) -> None:
    """One random statement of those that applications and their operators run."""
    low = chance.randrange(0, 900)
    high = low + chance.choice([1, 5, 150])
    between = f"BETWEEN {low} AND {high}"
    fresh = chance.randrange(1000, 100_000)
    statements = [
        f"UPDATE domains SET company_name = 'v{fresh}', status = 'success' WHERE id {between}",
        f"UPDATE gleif_candidates SET legal_name = 'n{fresh}', rank_position = {fresh % 7} WHERE domain_id {between}",
        f"DELETE FROM domains WHERE id {between}",
        f"DELETE FROM gleif_candidates WHERE domain_id {between}",
        f"UPDATE gleif_candidates SET domain_id = {fresh % 900} WHERE id {between}",
        f"UPDATE gleif_candidates SET domain_id = NULL WHERE id = {low}",
        f"INSERT INTO domains (id, domain, status, batch_id) SELECT {fresh} + n, 'd' || n || '.x', 'success', 'b' "
        f"FROM generate_series(1, {high - low + 1}) AS n WHERE NOT EXISTS (SELECT FROM domains WHERE id = {fresh} + n)",
        f"INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name) "
        f"SELECT (SELECT coalesce(max(id), 0) FROM gleif_candidates) + n, {low}, 'L' || n % 3, 'x' "
        f"FROM generate_series(1, 4) AS n",
        "TRUNCATE gleif_candidates",
        "VACUUM FULL domains",
    ]
    weights = [6, 6, 3, 3, 4, 2, 4, 4, 1, 1]
    connection.execute(chance.choices(statements, weights)[0].encode())


def test_a_history_gives_what_a_full_refresh_gives(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> None:
    assert_history(cluster, tmp_path_factory, 20261127)


@pytest.mark.extended
@settings(max_examples=4, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_any_history_gives_what_a_full_refresh_gives(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, seed: int
) -> None:
    assert_history(cluster, tmp_path_factory, seed)


def assert_history(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory, seed: int) -> None:
    """Random statements, an export after some of them, three times: the last is what one export of all is."""
    chance = random.Random(seed)  # noqa: S311
    folder = tmp_path_factory.mktemp("history")
    with cluster.new_database() as database:
        filled(database, seed=seed % 1000, rows=250)
        configured = settings_for(database, folder / "steps", segment_size=SEGMENT, min_rows_pct=0)
        export(configured)
        for _ in range(3):
            with database.connect(autocommit=True) as connection:
                for _ in range(chance.randrange(0, 4)):
                    mutate(connection, chance)
            step = export(configured)
            assert_agrees(database, step)
        verify_snapshot(step)
        whole = export(settings_for(database, folder / "whole", segment_size=SEGMENT, min_rows_pct=0))
        for table in published_tables(include_full_data=False):
            of_steps, of_whole = (read_parquet_face(s.folder, table.name) for s in (step, whole))
            assert_same(of_steps, of_whole, what=table.name)
