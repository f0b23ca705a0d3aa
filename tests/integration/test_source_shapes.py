"""Sources that are not the latest schema in plain tables: other columns and types (DESIGN 4.7), other relations."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.errors import ContractError, SourceError
from pipelines.settings import Settings
from pipelines.source import ranges, read_range
from tests.exporting import assert_agrees, before_it_reads, export, settings_for
from tests.hostile import random_rows
from tests.integration.kit import ROW_MARK, Published, as_role, role, run_sql, session, stage
from tests.oracle.expected import DOMAINS, GLEIF_CANDIDATES
from tests.oracle.postgres import Database
from tests.oracle.source import Columns, create_source_tables, insert_rows, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]

LARGEST = 2**24
FIRST_SCHEMA: Columns = {
    "domains": {
        **{name: None for name in DOMAINS if name == "domain_hash" or name.startswith("level2_")},
        "confidence_score": "integer",
    },
    "gleif_candidates": {name: "integer" for name, kind in GLEIF_CANDIDATES.items() if kind == "real"},
}


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


def settings_of(database: Database, tmp_path: Path, **overrides: Any) -> Settings:
    return settings_for(database, tmp_path / "export", segment_size=1000, **overrides)


def fill(database: Database, seed: int = 1, rows: int = 300) -> None:
    """Both tables with random rows, on a few dozen pages."""
    with database.connect() as connection:
        create_source_tables(connection)
        insert_source(connection, *random_rows(seed, rows))


# Columns and types


def test_first_schema_of_the_application(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection, columns=FIRST_SCHEMA)
        domains = [
            {"id": number, "domain": f"d{number}.example", "status": "success", "batch_id": "b"} for number in range(9)
        ]
        scores = [None, 0, 1, -1, 85, LARGEST, -LARGEST, LARGEST - 1, 33]
        for row, score in zip(domains, scores, strict=True):
            row["confidence_score"] = score
        candidates = [
            {"id": number, "domain_id": number, "lei_code": "X", "legal_name": "Y", "rank_position": 1}
            | dict.fromkeys(FIRST_SCHEMA["gleif_candidates"], score)
            for number, score in enumerate(scores)
        ]
        insert_source(connection, domains, candidates)
    snapshot = export(settings_of(database, tmp_path))
    assert_agrees(database, snapshot)
    relations = snapshot.manifest.source.relations
    assert set(relations["domains"].absent) == {name for name, kind in FIRST_SCHEMA["domains"].items() if kind is None}
    assert relations["gleif_candidates"].absent == ()
    assert ("weighted_score", "integer") in relations["gleif_candidates"].columns


def test_every_cast(database: Database, tmp_path: Path) -> None:
    run_sql(
        database,
        f"ALTER DATABASE \"{database.name}\" SET TimeZone = 'America/New_York'",
        "CREATE TYPE status_kind AS ENUM ('success', 'failed', 'it''s')",
        "CREATE DOMAIN label AS text CHECK (value <> 'never')",
        "CREATE DOMAIN narrow_label AS varchar(40)",
        "CREATE DOMAIN inner_label AS narrow_label",
        "CREATE DOMAIN points AS smallint",
        "CREATE DOMAIN whole AS integer",
        "CREATE DOMAIN status_label AS status_kind",
    )
    columns: Columns = {
        "domains": {
            "domain": "varchar(200)",
            "status": "status_label",
            "batch_id": "uuid",
            "company_name": "char(12)",
            "error_message": "json",
            "technical_details": "jsonb",
            "recommendation": "label",
            "failure_category": "inner_label",
            "guessed_country": "bpchar",
            "domain_hash": "varchar",
            "confidence_score": "smallint",
            "retry_count": "smallint",
            "final_confidence": "points",
            "entity_category_confidence": "whole",
            "created_at": "timestamptz",
            "processed_at": "timestamptz(3)",
            "processing_started_at": "timestamp(0)",
        },
        "gleif_candidates": {
            "domain_id": "smallint",
            "rank_position": "smallint",
            "lei_code": "char(20)",
            "weighted_score": "integer",
            "domain_tld_score": "smallint",
            "entity_status": "status_kind",
            "gleif_full_data": "jsonb",
            "created_at": "timestamptz",
        },
    }
    times = [
        *("2025-03-09 06:59:59.999999+00", "2025-03-09 07:00:00+00"),  # New York leaps from 2:00 to 3:00
        *("2025-11-02 05:30:00+00", "2025-11-02 06:30:00+00"),  # and has 1:30 twice
        *("2025-06-24 12:00:00+14", "1883-11-18 17:00:00+00", "0044-03-15 12:00:00+00 BC", "9999-12-31 23:59:59+00"),
        *("infinity", "-infinity", None),
    ]
    with database.connect() as connection:
        create_source_tables(connection, columns=columns, id_type="smallint")
        insert_source(
            connection,
            [
                {
                    "id": number - 5,
                    "domain": f"Cast{number}.Example ",
                    "status": ["success", "failed", "it's"][number % 3],
                    "batch_id": f"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD38{number % 2:04d}",
                    "company_name": ["padded", "", "trailing  ", None][number % 4],
                    "error_message": '{"b" : 1.10, "a":1e5,  "a":12345678901234567890123}',
                    "technical_details": '{"b": 1.10, "a": [null, "\\u00e9"], "n": 12345678901234567890.10}',
                    "recommendation": "label",
                    "failure_category": "inner",
                    "guessed_country": "NO  ",
                    "domain_hash": "0" * 32,
                    "confidence_score": [-32768, 32767, 0, None][number % 4],
                    "retry_count": [-32768, 32767, None][number % 3],
                    "final_confidence": number,
                    "entity_category_confidence": 2**31 - 1,
                    "created_at": time,
                    "processed_at": time,
                    "processing_started_at": "2025-03-09 02:30:00",
                }
                for number, time in enumerate(times)
            ],
            [
                {
                    "id": number,
                    "domain_id": number % 12 - 5,
                    "lei_code": ["5493001KJTIIGC8Y1R12", "short"][number % 2],
                    "legal_name": f"Entity {number}",
                    "rank_position": number,
                    "weighted_score": [LARGEST, -LARGEST, 7, None][number % 4],
                    "domain_tld_score": -number,
                    "entity_status": "failed",
                    "gleif_full_data": '{"z": 1.10, "y": 1e400, "y": 2}',
                    "created_at": times[number % len(times)],
                }
                for number in range(40)
            ],
        )
    assert_agrees(database, export(settings_of(database, tmp_path, include_full_data=True)))


@pytest.mark.parametrize("table", ["domains", "gleif_candidates"])
@pytest.mark.parametrize("value", [LARGEST + 1, -LARGEST - 1, 2**31 - 1, -(2**31)])
def test_whole_number_that_is_no_real(database: Database, published: Published, table: str, value: int) -> None:
    column = {"domains": "confidence_score", "gleif_candidates": "name_match_score"}[table]
    with database.connect() as connection:
        create_source_tables(connection, columns=FIRST_SCHEMA)
        insert_rows(
            connection,
            table,
            [{"id": number, "domain": ROW_MARK, column: value if number == 77 else LARGEST} for number in range(99)]
            if table == "domains"
            else [{"id": number, column: value if number == 77 else -LARGEST} for number in range(99)],
        )
    settings = settings_for(database, published.export_dir)
    error = published.fails(settings, f"{table}.{column}", "id 77", "16777216", kind=ContractError)
    assert str(value) not in str(error)


def test_unknown_generated_and_dropped_columns(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(
            connection, columns={"domains": {"Domain": "text", "notes": "text[]", "weird; \"'": "int"}}
        )
        version = connection.info.server_version
    virtual = "VIRTUAL" if version >= 180_000 else "STORED"
    run_sql(
        database,
        "ALTER TABLE domains DROP COLUMN retry_count",
        "ALTER TABLE domains ADD COLUMN retry_count int GENERATED ALWAYS AS (length(domain)) STORED",
        "ALTER TABLE domains DROP COLUMN company_name",
        f"ALTER TABLE domains ADD COLUMN company_name text GENERATED ALWAYS AS (upper(domain)) {virtual}",
        "ALTER TABLE domains ADD COLUMN status_seen text DEFAULT 'x'",
        "ALTER TABLE domains DROP COLUMN error_message",
        "ALTER TABLE domains ALTER COLUMN selection_notes SET DEFAULT 'filled when added'",
        "ALTER TABLE gleif_candidates DROP COLUMN legal_form",
        "ALTER TABLE gleif_candidates ADD COLUMN legal_form text DEFAULT 'fast default'",
    )
    with database.connect() as connection:
        rows = [
            {"id": number, "domain": f"{number}.example", "status": "success", "batch_id": "b", "Domain": ROW_MARK}
            for number in range(50)
        ]
        insert_source(connection, rows, [{"id": 1, "domain_id": 3, "lei_code": "X", "legal_name": "Y"}])
    snapshot = export(settings_of(database, tmp_path))
    assert_agrees(database, snapshot)
    domains = snapshot.manifest.source.relations["domains"]
    assert domains.unknown == ("Domain", "notes", "weird; \"'", "status_seen")
    assert domains.absent == ("error_message",)
    assert snapshot.manifest.source.relations["gleif_candidates"].unknown == ()


def test_columns_that_do_not_fit_are_all_named_before_any_read(database: Database, published: Published) -> None:
    wrong = {
        "confidence_score": "double precision",
        "retry_count": "bigint",
        "company_name": "text[]",
        "level2_attempted": "integer",
        "created_at": "date",
        "processed_at": "text",
        "final_confidence": "numeric",
        "guessed_country": '"char"',
        "batch_id": "bytea",
    }
    with database.connect() as connection:
        create_source_tables(connection, columns={"domains": {**wrong, "domain": None, "status": None}})
    error = published.fails(
        settings_for(database, published.export_dir),
        "Source table public.domains can't be read",
        "column confidence_score has type double precision, expected float4 or int2 or int4",
        "column retry_count has type bigint, expected int4 or int2",
        "column company_name has type text[], expected text or varchar",
        "column created_at has type date, expected timestamp or timestamptz",
        "required column domain (text or varchar",
        "required column status",
        "change the column's type",
        kind=SourceError,
    )
    assert all(f"column {name} has type" in str(error) for name in wrong)


def test_column_of_the_second_table_does_not_fit(database: Database, published: Published) -> None:
    with database.connect() as connection:
        create_source_tables(connection, columns={"gleif_candidates": {"lei_code": None, "domain_id": "numeric"}})
    published.fails(
        settings_for(database, published.export_dir),
        "Source table public.gleif_candidates",
        "required column lei_code",
        "column domain_id has type numeric, expected int8 or int4 or int2",
        kind=SourceError,
    )


def test_full_data_is_validated_only_where_it_is_read(database: Database, published: Published, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection, columns={"gleif_candidates": {"gleif_full_data": "bytea"}})
    record, _ = stage(settings_of(database, tmp_path))
    assert record.source.relations["gleif_candidates"].unknown == ()
    settings = settings_for(database, published.export_dir, include_full_data=True)
    published.fails(settings, "column gleif_full_data has type bytea", kind=SourceError)


@pytest.mark.parametrize("schema", ["MyApp", 'my"schema; DROP TABLE domains', "100%s {} ü' --"])
def test_schema_is_only_a_name(database: Database, published: Published, tmp_path: Path, schema: str) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_rows(connection, "domains", [{"id": 1, "domain": "of public", "status": "success", "batch_id": "b"}])
    published.fails(
        settings_for(database, published.export_dir, source_schema=schema),
        f"Source table {schema}.domains is missing",
        "SOURCE_SCHEMA",
        kind=SourceError,
    )
    with database.connect() as connection:
        create_source_tables(connection, schema)
        insert_source(connection, *random_rows(3, 20), schema)
    snapshot = export(settings_of(database, tmp_path, source_schema=schema))
    assert_agrees(database, snapshot, schema)
    assert snapshot.manifest.source.relations["domains"].rows == 20


# Relations


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
    with database.connect() as connection:
        create_source_tables(connection)
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
    with database.connect() as connection:
        create_source_tables(connection)
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
    with database.connect() as connection:
        create_source_tables(connection)
    run_sql(
        database,
        "ALTER TABLE domains RENAME TO t",
        "CREATE MATERIALIZED VIEW domains AS SELECT * FROM t WITH NO DATA",
    )
    published.fails(
        settings_for(database, published.export_dir), "public.domains", "REFRESH MATERIALIZED VIEW", kind=SourceError
    )


def test_one_page_and_its_last_row(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
    run_sql(database, "INSERT INTO gleif_candidates (id, domain_id) SELECT n, n FROM generate_series(1, 1000) n")
    with session(database) as connection:
        (last,) = connection.execute("SELECT max(ctid)::text FROM gleif_candidates").fetchone() or ("",)
    assert not last.startswith("(0,")
    _, frames = stage(settings_of(database, tmp_path))
    assert frames["gleif_candidates"]["id"].equals(pl.Series("id", range(1, 1001), pl.Int64))
