"""Sources whose tables are no plain tables: views, partitions, inheritance; none of them is read twice or in part."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.errors import SourceError
from pipelines.source import ranges, read_range
from tests.exporting import assert_agrees, before_it_reads, export, settings_for
from tests.integration.kit import Published, as_role, fill, role, run_sql, session, settings_of, stage
from tests.oracle.expected import DOMAINS, GLEIF_CANDIDATES
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The queries of a run, with small ranges of pages."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 4 * 8192)
    queries: list[str] = []
    real = read_range.read_query

    def spy(url: Any, query: str, setup: list[str]) -> Any:
        queries.append(query)
        return real(url, query, setup)

    monkeypatch.setattr(read_range, "read_query", spy)
    return queries


def views(database: Database) -> None:
    fill(database)
    for table in ("domains", "gleif_candidates"):
        run_sql(database, f"ALTER TABLE {table} RENAME TO t_{table}", f"CREATE VIEW {table} AS SELECT * FROM t_{table}")


def materialized_views(database: Database) -> None:
    fill(database)
    for table in ("domains", "gleif_candidates"):
        run_sql(
            database,
            f"ALTER TABLE {table} RENAME TO t_{table}",
            f"CREATE MATERIALIZED VIEW {table} AS SELECT * FROM t_{table}",
            f"DELETE FROM t_{table}",
        )


def _replace_by(database: Database, table: str, make: str, *parts: str) -> None:
    run_sql(
        database,
        f"ALTER TABLE {table} RENAME TO t_{table}",
        make.format(f"{table} (LIKE t_{table})"),
        *parts,
        f"INSERT INTO {table} SELECT * FROM t_{table}",
        f"DROP TABLE t_{table}",
    )


def partitioned_tables(database: Database) -> None:
    fill(database)
    _replace_by(
        database,
        "gleif_candidates",
        "CREATE TABLE {} PARTITION BY LIST (jurisdiction)",
        'CREATE SCHEMA "Other; schema"',
        "CREATE TABLE \"Other; schema\".us PARTITION OF gleif_candidates FOR VALUES IN ('US', 'NO')",
        "CREATE TABLE nothing PARTITION OF gleif_candidates FOR VALUES IN ('XX')",
        "CREATE TABLE rest PARTITION OF gleif_candidates DEFAULT PARTITION BY HASH (domain_id)",
        "CREATE TABLE rest_0 PARTITION OF rest FOR VALUES WITH (MODULUS 2, REMAINDER 0)",
        "CREATE TABLE rest_1 PARTITION OF rest FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "CREATE TABLE gone PARTITION OF gleif_candidates FOR VALUES IN ('ZZ')",
        "INSERT INTO gleif_candidates (id, jurisdiction) VALUES (-77, 'ZZ')",
        "ALTER TABLE gleif_candidates DETACH PARTITION gone",
    )
    _replace_by(
        database,
        "domains",
        "CREATE TABLE {} PARTITION BY RANGE (id)",
        "CREATE TABLE low PARTITION OF domains FOR VALUES FROM (MINVALUE) TO (300)",
        "CREATE TABLE high (extra int, batch_id text, LIKE t_domains)".replace("batch_id text, ", ""),
        "ALTER TABLE high DROP COLUMN extra",
        "ALTER TABLE high DROP COLUMN domain",
        "ALTER TABLE high ADD COLUMN domain text",
        "ALTER TABLE domains ATTACH PARTITION high FOR VALUES FROM (300) TO (MAXVALUE)",
    )


def inheritance(database: Database) -> None:
    fill(database)
    run_sql(
        database,
        "CREATE TABLE child (extra text) INHERITS (domains)",
        "CREATE TABLE grandchild (more text) INHERITS (child)",
        "CREATE TABLE gleif_child () INHERITS (gleif_candidates)",
        "INSERT INTO child SELECT * FROM ONLY domains WHERE id % 3 = 0",
        "INSERT INTO grandchild SELECT * FROM ONLY domains WHERE id % 3 = 1",
        "DELETE FROM ONLY domains WHERE id % 3 < 2",
        "INSERT INTO gleif_child SELECT * FROM gleif_candidates",
        "DELETE FROM ONLY gleif_candidates",
    )


def unlogged_tables(database: Database) -> None:
    fill(database)
    run_sql(database, "ALTER TABLE domains SET UNLOGGED", "ALTER TABLE gleif_candidates SET UNLOGGED")


def bloated_tables(database: Database) -> None:
    fill(database)
    for table in ("domains", "gleif_candidates"):
        run_sql(
            database,
            f"ALTER TABLE {table} SET (autovacuum_enabled = off)",
            *[f"UPDATE {table} SET created_at = created_at WHERE id % 4 <> {number}" for number in range(4)],
            f"INSERT INTO {table} SELECT * FROM {table}",
            # The first of each pair goes: most pages hold nothing, some one row.
            f"DELETE FROM {table} WHERE ctid IN (SELECT min(ctid) FROM {table} GROUP BY id)",
            f"DELETE FROM {table} WHERE id % 5 < 3",
        )


def tables_emptied_by_delete(database: Database) -> None:
    fill(database)
    for table in ("domains", "gleif_candidates"):
        run_sql(database, f"ALTER TABLE {table} SET (autovacuum_enabled = off)", f"DELETE FROM {table}")


def partitioned_without_partitions(database: Database) -> None:
    fill_source(database)
    run_sql(
        database,
        "ALTER TABLE gleif_candidates RENAME TO t",
        "CREATE TABLE gleif_candidates (LIKE t) PARTITION BY HASH (id)",
    )


@pytest.mark.parametrize(
    ("shape", "fewest_reads"),
    [
        (views, 2),
        (materialized_views, 6),
        (partitioned_tables, 6),
        (inheritance, 6),
        (unlogged_tables, 6),
        (bloated_tables, 20),
        (tables_emptied_by_delete, 0),
        (partitioned_without_partitions, 0),
    ],
)
def test_shape(
    database: Database,
    tmp_path: Path,
    reads: list[str],
    shape: Callable[[Database], None],
    fewest_reads: int,
) -> None:
    shape(database)
    snapshot = export(settings_of(database, tmp_path))
    assert_agrees(database, snapshot)
    assert len(reads) >= fewest_reads
    assert len(set(reads)) == len(reads)
    with session(database) as connection:
        for table in ("domains", "gleif_candidates"):
            (rows,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone() or ()
            assert snapshot.manifest.source.relations[table].rows == rows


@pytest.mark.parametrize("shape", [partitioned_tables, inheritance])
def test_privilege_on_the_parent_is_enough(
    database: Database, tmp_path: Path, reads: list[str], shape: Callable[[Database], None]
) -> None:
    shape(database)
    with role(database) as name:
        run_sql(database, f"GRANT SELECT ON domains, gleif_candidates TO {name}")
        snapshot = export(settings_of(as_role(database, name), tmp_path))
    assert_agrees(database, snapshot)
    assert len(reads) >= 6
    assert not any("ONLY" in query for query in reads)


def test_privilege_on_the_read_columns_is_enough(database: Database, tmp_path: Path) -> None:
    fill(database, rows=30)
    run_sql(database, "ALTER TABLE domains ADD COLUMN secret text")
    with role(database) as name:
        run_sql(
            database,
            f"GRANT SELECT ({', '.join(DOMAINS)}) ON domains TO {name}",
            f"GRANT SELECT ({', '.join(set(GLEIF_CANDIDATES) - {'gleif_full_data'})}) ON gleif_candidates TO {name}",
        )
        snapshot = export(settings_of(as_role(database, name), tmp_path))
    assert_agrees(database, snapshot)


def test_partition_attached_after_the_snapshot_is_not_read(database: Database, tmp_path: Path) -> None:
    partitioned_tables(database)
    # ATTACH would wait for an exclusive lock on a default partition.
    run_sql(database, "ALTER TABLE gleif_candidates DETACH PARTITION rest")
    attach = "ALTER TABLE gleif_candidates ATTACH PARTITION gone FOR VALUES IN ('ZZ')"
    with session(database) as connection:
        before = connection.execute("SELECT count(*) FROM gleif_candidates").fetchone()
    listener = before_it_reads(lambda: run_sql(database, attach))
    record, frames = stage(settings_of(database, tmp_path, read_connections=1), listener)
    assert (record.source.relations["gleif_candidates"].rows,) == before
    assert -77 not in frames["gleif_candidates"]["id"]
    _, frames = stage(settings_of(database, tmp_path))
    assert -77 in frames["gleif_candidates"]["id"]


def test_values_stored_out_of_line(database: Database, tmp_path: Path, reads: list[str]) -> None:
    fill(database, rows=20)
    run_sql(
        database,
        "UPDATE domains SET about_section_summary = repeat(md5(id::text), 20000 + id) WHERE id % 2 = 0",
        "ALTER TABLE domains ALTER COLUMN content_sources SET STORAGE EXTERNAL",
        "UPDATE domains SET content_sources = repeat(md5(id::text) || 'é', 9000)",
        "UPDATE gleif_candidates SET selection_reason = (SELECT string_agg(md5(g::text || id::text), '') "
        "FROM generate_series(1, 500) g)",
    )
    assert_agrees(database, export(settings_of(database, tmp_path)))
    # 5 MB out of line on a page or two: each page is a range of its own.
    assert len(reads) >= 4


def test_foreign_rows_are_refused(database: Database, published: Published) -> None:
    fill_source(database)
    try:
        run_sql(database, "CREATE FOREIGN DATA WRAPPER nothing", "CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing")
    except Exception as error:  # noqa: BLE001
        pytest.skip(f"no foreign server here: {type(error).__name__}")
    run_sql(database, "CREATE FOREIGN TABLE far () INHERITS (domains) SERVER elsewhere")
    published.fails(
        settings_for(database, published.export_dir), "public.domains", "foreign table public.far", kind=SourceError
    )
    run_sql(
        database,
        "DROP FOREIGN TABLE far",
        "DROP TABLE gleif_candidates",
        "CREATE FOREIGN TABLE gleif_candidates (id int, domain_id int, lei_code text, legal_name text) "
        "SERVER elsewhere",
    )
    published.fails(settings_for(database, published.export_dir), "foreign table public.gleif_candidates")


def test_materialized_view_without_data(database: Database, published: Published) -> None:
    fill_source(database)
    run_sql(
        database,
        "ALTER TABLE domains RENAME TO t",
        "CREATE MATERIALIZED VIEW domains AS SELECT * FROM t WITH NO DATA",
    )
    published.fails(
        settings_for(database, published.export_dir), "public.domains", "REFRESH MATERIALIZED VIEW", kind=SourceError
    )


def test_one_page_and_its_last_row(database: Database, tmp_path: Path) -> None:
    fill_source(database)
    run_sql(database, "INSERT INTO gleif_candidates (id, domain_id) SELECT n, n FROM generate_series(1, 1000) n")
    with session(database) as connection:
        (last,) = connection.execute("SELECT max(ctid)::text FROM gleif_candidates").fetchone() or ("",)
    assert not last.startswith("(0,")
    _, frames = stage(settings_of(database, tmp_path))
    assert frames["gleif_candidates"]["id"].equals(pl.Series("id", range(1, 1001), pl.Int64))


def test_a_temporary_child_of_another_session_is_no_part_of_a_table(database: Database, tmp_path: Path) -> None:
    fill(database)
    with database.connect(autocommit=True) as other:
        other.execute("SET temp_buffers = 100")  # so that its rows are in a file, where our session finds its pages
        other.execute("CREATE TEMP TABLE child () INHERITS (domains)")
        other.execute("INSERT INTO child SELECT d.* FROM ONLY domains AS d, generate_series(1, 200)")
        assert_agrees(database, export(settings_for(database, tmp_path)))
