"""Sources of another schema than the latest: other columns and types (DESIGN 4.7)."""

from pathlib import Path

import pytest

from pipelines.errors import ContractError, SourceError
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.kit import ROW_MARK, Published, run_sql, settings_of, stage
from tests.oracle.expected import DOMAINS, GLEIF_CANDIDATES
from tests.oracle.postgres import Database
from tests.oracle.source import Columns, create_source_tables, fill_source, insert_rows, insert_source
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.standard]

LARGEST = 2**24
FIRST_SCHEMA: Columns = {
    "domains": {
        **{name: None for name in DOMAINS if name == "domain_hash" or name.startswith("level2_")},
        "confidence_score": "integer",
    },
    "gleif_candidates": {name: "integer" for name, kind in GLEIF_CANDIDATES.items() if kind == "real"},
}


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
    fill_source(database, columns={"domains": {**wrong, "domain": None, "status": None}})
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
    fill_source(database, columns={"gleif_candidates": {"lei_code": None, "domain_id": "numeric"}})
    published.fails(
        settings_for(database, published.export_dir),
        "Source table public.gleif_candidates",
        "required column lei_code",
        "column domain_id has type numeric, expected int8 or int4 or int2",
        kind=SourceError,
    )


def test_full_data_is_validated_only_where_it_is_read(database: Database, published: Published, tmp_path: Path) -> None:
    fill_source(database, columns={"gleif_candidates": {"gleif_full_data": "bytea"}})
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
