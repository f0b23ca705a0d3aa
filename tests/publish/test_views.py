"""The views of exports.duckdb: what they hold, that they follow the tables, and that verification sees to them."""

from pathlib import Path

import duckdb
import pytest

from pipelines.contracts.tables import published_tables
from pipelines.contracts.views import INFO_COLUMNS, INFO_DESCRIPTION, SNAPSHOT_INFO, VIEWS, views_of
from pipelines.snapshots.database import build_database
from pipelines.snapshots.opening import list_snapshots
from pipelines.snapshots.parquet import write_parquet
from pipelines.snapshots.verification import compare_duckdb_and_parquet, failed_checks
from tests.publish.kit import Kit, in_duckdb, new_id
from tests.publish.rows import REJECTED_ROWS, TABLES, rejected_rows, rows_of

pytestmark = pytest.mark.fast

BY_NAME = {table.name: table for table in TABLES}
DOMAIN_COLUMNS = ("domain_id", "domain_hash", "batch_id", "primary_lei_code", "manual_review_required")
DOMAINS = [
    (1, "aa", "b1", "LEI_A", None),
    (2, "aa", "b2", "LEI_B", False),
    (3, "bb", "b1", "LEI_X", True),  # primary that is no candidate; marked by the application
    (4, "bb", "b2", "\u3000 ", None),  # blank
    (5, "cc", "b1", None, None),
    (6, "dd", "b2", "LEI_A", None),
    (7, "dd", "b2", "LEI_A", None),  # twice in one batch: no disagreement between batches
]
CANDIDATE_COLUMNS = (*DOMAIN_COLUMNS[:3], "lei_code", "rank_position", "weighted_score", "registration_status")
CANDIDATES = [
    (1, "aa", "b1", "LEI_B", None, 99.0, "ISSUED"),
    (1, "aa", "b1", "LEI_A", 1, 90.1, "LAPSED"),
    (1, "aa", "b1", "LEI_C", 2, 87.2, None),
    (2, "aa", "b2", "LEI_B", 1, 90.0, "ISSUED"),
    (2, "aa", "b2", "LEI_A", 2, 85.0, "LAPSED"),
    (3, "bb", "b1", "LEI_A", 1, 90.0, "ISSUED"),
    (4, "bb", "b2", "LEI_A", 1, 90.0, "ISSUED"),
    (4, "bb", "b2", "LEI_D", 2, None, "ISSUED"),
    (6, "dd", "b2", "LEI_A", 1, 90.0, "ISSUED"),
    (7, "dd", "b2", "LEI_E", 1, 90.0, "ISSUED"),
]


@pytest.fixture
def database(tmp_path: Path) -> Path:
    rows = {
        "domain_exports": [dict(zip(DOMAIN_COLUMNS, row, strict=True)) for row in DOMAINS],
        "candidate_exports": [
            {"candidate_id": number, **dict(zip(CANDIDATE_COLUMNS, row, strict=True))}
            for number, row in enumerate(CANDIDATES)
        ],
        "unique_domains": [
            {"domain_hash": hashed, "domain": f"{hashed}.example"} for hashed in ("aa", "bb", "cc", "dd")
        ],
    }
    files = {}
    for table in TABLES:
        path = tmp_path / table.name / "all.parquet"
        frame = rows_of(table, rows[table.name]) if table.name in rows else table.schema.create_empty()
        write_parquet(frame, path, table=table, segment=None)
        files[table.name] = [path]
    build_database(tmp_path / "exports.duckdb", TABLES, files)
    return tmp_path / "exports.duckdb"


def answer(database: Path, query: str) -> list[tuple]:
    return in_duckdb(query, database).rows()


def test_domain_candidates_is_the_join(database: Path) -> None:
    found = answer(
        database, "SELECT domain_id, lei_code, primary_lei_code FROM domain_candidates ORDER BY candidate_id"
    )
    primaries = {row[0]: row[3] for row in DOMAINS}
    assert found == [(row[0], row[3], primaries[row[0]]) for row in CANDIDATES]


def test_primary_candidates_keep_a_primary_that_is_no_candidate_and_leave_out_blanks(database: Path) -> None:
    assert answer(
        database, "SELECT domain_id, is_candidate, registration_status FROM primary_candidates ORDER BY domain_id"
    ) == [(1, True, "LAPSED"), (2, True, "ISSUED"), (3, False, None), (6, True, "ISSUED"), (7, False, None)]


def test_review_queue_compares_the_first_two_in_rank_order(database: Path) -> None:
    found = answer(
        database,
        "SELECT domain_id, manual_review_required, has_close_scores, score_gap, first_lei_code, second_lei_code"
        " FROM review_queue ORDER BY domain_id",
    )
    # 2 is exactly 5 points apart; 4 has no second score.
    assert found == [(1, None, True, 2.9, "LEI_A", "LEI_C"), (3, True, False, None, "LEI_A", None)]


def test_disagreeing_domains_compare_batches_not_rows(database: Path) -> None:
    found = answer(
        database,
        "SELECT domain, batch_count, distinct_lei_count, shared_lei_count, differing_lei_codes, primary_lei_codes"
        " FROM disagreeing_domains ORDER BY domain",
    )
    assert found == [
        ("aa.example", 2, 3, 2, ["LEI_C"], ["LEI_A", "LEI_B"]),
        ("bb.example", 2, 2, 1, ["LEI_D"], ["LEI_X"]),
    ]


def test_every_table_view_and_column_says_what_it_is(published: Kit) -> None:
    path = published.current().database_path
    described = {view.name: view.description for view in VIEWS}
    assert dict(answer(path, "SELECT view_name, comment FROM duckdb_views() WHERE NOT internal")) == described
    tables = dict(answer(path, "SELECT table_name, comment FROM duckdb_tables()"))
    assert tables == {SNAPSHOT_INFO: INFO_DESCRIPTION, **{table.name: table.description for table in TABLES}}
    columns = answer(
        path, "SELECT table_name, column_name, comment FROM duckdb_columns() WHERE NOT internal ORDER BY ALL"
    )
    expected = [(t.name, name, text) for t in TABLES for name, text in t.column_descriptions.items()]
    expected += [(view.name, name, column.description) for view in VIEWS for name, column in view.columns.items()]
    expected += [(SNAPSHOT_INFO, name, column.description) for name, column in INFO_COLUMNS.items()]
    assert columns == sorted(expected)
    assert all(text for *_, text in expected)


def test_a_changed_copy_has_the_views_of_this_version(published: Kit) -> None:
    published.publish_changes(2, {0: range(1, 9), 1: range(100, 104)})
    assert list_snapshots(published.export_dir).snapshots[-1].manifest.base_snapshot == new_id(1)
    assert len(answer(published.current().database_path, "FROM domain_candidates")) == 24
    assert not failed_checks(compare_duckdb_and_parquet(published.current()))


@pytest.mark.parametrize(
    ("statement", "kind", "name"),
    [
        ("DROP VIEW review_queue", "missing", "review_queue"),
        ("CREATE VIEW stray AS SELECT 1 AS a", "unexpected", "stray"),
        ("COMMENT ON VIEW domain_candidates IS 'another'", "differs", "domain_candidates"),
        ("COMMENT ON COLUMN domain_candidates.domain IS NULL", "differs", "domain_candidates"),
        ("CREATE OR REPLACE VIEW review_queue AS SELECT 1 AS domain_id", "differs", "review_queue"),
        ("CREATE OR REPLACE VIEW review_queue AS FROM entities; DROP TABLE entities", "unqueryable", "review_queue"),
    ],
)
def test_verification_sees_to_the_views(published: Kit, statement: str, kind: str, name: str) -> None:
    path = published.current().database_path
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        connection.execute(statement)
    failed = {check.name: check.metadata for check in failed_checks(compare_duckdb_and_parquet(published.current()))}
    assert failed["database_views"][kind] == [name]


def test_a_database_of_some_tables_has_the_views_that_can_be(tmp_path: Path) -> None:
    write_parquet(rejected_rows(3), tmp_path / "all.parquet", table=REJECTED_ROWS, segment=None)
    build_database(tmp_path / "exports.duckdb", [REJECTED_ROWS], {"rejected_rows": [tmp_path / "all.parquet"]})
    assert views_of([REJECTED_ROWS]) == ()
    assert answer(tmp_path / "exports.duckdb", "SELECT view_name FROM duckdb_views() WHERE NOT internal") == []


def test_names_are_of_one_thing_only() -> None:
    names = [table.name for table in published_tables(include_full_data=True)] + [view.name for view in VIEWS]
    assert len(set(names)) == len(names)
    assert all(set(view.key) <= view.columns.keys() and set(view.reads) <= BY_NAME.keys() for view in VIEWS)
