import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import polars as pl
import pytest

from pipelines.errors import SnapshotError
from pipelines.snapshots.comparison import AttachedDatabase, verify_equal
from pipelines.snapshots.duckdb_connections import fingerprint
from pipelines.snapshots.parquet import count_descents, write_parquet
from pipelines.snapshots.verification import compare_duckdb_and_parquet, failed_checks, verify_files, verify_snapshot
from tests.publish.kit import Kit, flip_a_byte, overwrite
from tests.publish.rows import DOMAIN_EXPORTS, REJECTED_ROWS, TABLES, domain_rows, rejected_rows

pytestmark = pytest.mark.fast


def failures(kit: Kit) -> set[str]:
    return {f"{check.table}.{check.name}" for check in failed_checks(compare_duckdb_and_parquet(kit.current()))}


def change_database(kit: Kit, *statements: str) -> None:
    path = kit.current().database_path
    path.chmod(0o644)
    with duckdb.connect(str(path)) as connection:
        for statement in statements:
            connection.execute(statement)


def replace_rows(kit: Kit, frame: pl.DataFrame, name: str = "000000.parquet") -> None:
    """Put other rows into a published file, the contract kept."""
    write_parquet(frame, kit.current().folder / "domain_exports" / name, table=DOMAIN_EXPORTS, segment=0)


def test_a_good_snapshot_passes_every_check(published: Kit) -> None:
    checks = verify_snapshot(published.current())
    assert all(check.passed for check in checks)
    assert len({(check.table, check.name) for check in checks}) == len(checks) == 5 + 8 * len(TABLES)


@pytest.mark.parametrize(
    ("path", "position"),
    [("domain_exports/000001.parquet", 0.0), ("rejected_rows/all.parquet", 0.5), ("exports.duckdb", 0.999)],
)
def test_a_flipped_byte_is_found_and_the_file_named(published: Kit, path: str, position: float) -> None:
    flip_a_byte(published.current().folder / path, position)
    with pytest.raises(SnapshotError) as caught:
        verify_snapshot(published.current())
    assert f"damaged: ['{path}']" in caught.value.found


@pytest.mark.parametrize("path", ["candidate_exports/000000.parquet", "exports.duckdb"])
def test_a_missing_file_is_named(published: Kit, path: str) -> None:
    (published.current().folder / path).unlink()
    with pytest.raises(SnapshotError) as caught:
        verify_snapshot(published.current())
    assert f"missing: ['{path}']" in caught.value.found
    assert failures(published)


def test_a_file_of_another_size_is_named(published: Kit) -> None:
    overwrite(published.current().folder / "rejected_rows" / "all.parquet", lambda content: content.append(0))
    damaged = [check.metadata["damaged"] for check in failed_checks(verify_files(published.current()))]
    assert damaged == [["rejected_rows/all.parquet"]]


def test_a_stray_file_is_named_because_a_glob_would_read_it(published: Kit) -> None:
    folder = published.current().folder / "domain_exports"
    shutil.copy(folder / "000000.parquet", folder / "000002.parquet")
    assert failed_checks(verify_files(published.current()))[0].metadata == {"stray": ["domain_exports/000002.parquet"]}


@pytest.mark.parametrize("position", [0.001, 0.2, 0.5, 0.8])
def test_a_flipped_byte_in_the_database_is_found_without_its_digest(published: Kit, position: float) -> None:
    """DuckDB's own block checksums; a block that is not in use may hold anything."""
    before = failures(published)
    flip_a_byte(published.current().database_path, position)
    found = failures(published)
    assert before == set()
    faces = {f"{table}.faces_equal" for table in published.current().table_names}
    assert found <= {"snapshot.database_opens", "snapshot.snapshot_info", *faces}


def test_a_parquet_file_that_cannot_be_read_is_found_without_its_digest(published: Kit) -> None:
    flip_a_byte(published.current().folder / "domain_exports" / "000000.parquet", 0.999)
    assert {"domain_exports.parquet_columns", "domain_exports.faces_equal"} <= failures(published)


def test_after_an_error_the_database_is_opened_anew(published: Kit) -> None:
    """DuckDB refuses whatever follows on a session that met a damaged block."""
    with AttachedDatabase(published.current()) as attached:
        with attached.session() as first:
            pass
        with attached.session() as same:
            assert same is first
        with pytest.raises(duckdb.Error), attached.session() as failing:
            failing.execute("FROM attached.main.nothing")
        with pytest.raises(duckdb.Error, match="closed"):
            first.execute("SELECT 1")
        assert verify_equal(attached, DOMAIN_EXPORTS).passed


# --- cell by cell: one cell of one row differs between the formats

CELLS: dict[str, str] = {
    "text": "UPDATE domain_exports SET domain = 'd1.Example' WHERE domain_id = 1",
    "null_to_empty_text": "UPDATE domain_exports SET recommendation = '' WHERE domain_id = 1",
    "empty_text_to_null": "UPDATE domain_exports SET recommendation = NULL WHERE domain_id = 2",
    "nan_to_null": "UPDATE domain_exports SET confidence_score = NULL WHERE domain_id = 5",
    "nan_to_infinity": "UPDATE domain_exports SET confidence_score = 'inf' WHERE domain_id = 5",
    "microsecond": "UPDATE domain_exports SET created_at = created_at + INTERVAL 1 MICROSECOND WHERE domain_id = 3",
    "count": "UPDATE domain_exports SET gleif_candidate_count = 7 WHERE domain_id = 3",
    "empty_list": "UPDATE domain_exports SET lei_codes = [''] WHERE domain_id = 4",
    "list_of_null": "UPDATE domain_exports SET lei_codes = [NULL] WHERE domain_id = 4",
    "list_order": "UPDATE domain_exports SET lei_codes = ['', 'LEI2'] WHERE domain_id = 2",
    "list_longer": "UPDATE domain_exports SET lei_codes = lei_codes || [''] WHERE domain_id = 3",
    "list_joined": "UPDATE domain_exports SET lei_codes = ['LEI3b', ''] WHERE domain_id = 3",
}


@pytest.mark.parametrize("statement", CELLS.values(), ids=CELLS)
def test_one_cell_that_differs_is_found_and_its_column_named(published: Kit, statement: str) -> None:
    change_database(published, statement)
    check = verify_equal(AttachedDatabase(published.current()), DOMAIN_EXPORTS)
    assert not check.passed
    assert check.metadata["columns"] == [statement.split()[3]]
    assert failures(published) == {"domain_exports.faces_equal"}


def test_cells_of_two_rows_that_changed_places_are_found(published: Kit) -> None:
    change_database(
        published,
        "UPDATE domain_exports SET domain = CASE domain_id WHEN 1 THEN 'd2.example' ELSE 'd1.example' END"
        " WHERE domain_id IN (1, 2)",
    )
    assert failures(published) == {"domain_exports.faces_equal"}


def test_columns_of_one_type_that_changed_places_are_found(published: Kit) -> None:
    change_database(published, "UPDATE domain_exports SET domain = batch_id, batch_id = domain")
    assert verify_equal(AttachedDatabase(published.current()), DOMAIN_EXPORTS).metadata["columns"] == [
        "domain",
        "batch_id",
    ]


def test_a_row_that_replaces_another_is_found_though_the_count_is_right(published: Kit) -> None:
    change_database(
        published,
        "DELETE FROM domain_exports WHERE domain_id IN (1, 2)",
        "INSERT INTO domain_exports FROM domain_exports WHERE domain_id IN (3, 4)",
    )
    assert failures(published) == {"domain_exports.faces_equal"}


def test_the_order_of_rows_in_duckdb_does_not_matter(published: Kit) -> None:
    change_database(
        published,
        "CREATE TEMP TABLE t AS FROM domain_exports ORDER BY domain_id DESC",
        "DELETE FROM domain_exports",
        "INSERT INTO domain_exports FROM t",
    )
    assert failures(published) == set()


def test_equal_rows_have_equal_hashes_in_vectors_of_every_kind() -> None:
    """Constant, dictionary and flat vectors hold the same value differently."""
    columns = {"a": "VARCHAR", "b": "VARCHAR[]", "c": "INTEGER"}
    values = [("NULL", "NULL", "NULL"), ("''", "[]", "0"), ("'x'", "[NULL]", "1"), ("'y'", "['p', NULL]", "NULL")]
    with duckdb.connect(":memory:") as connection:
        for a, b, c in values:
            row = f"SELECT {a}::VARCHAR AS a, {b}::VARCHAR[] AS b, {c}::INTEGER AS c"
            connection.execute(f"CREATE OR REPLACE TABLE flat AS {row} FROM range(3000)")
            connection.execute("INSERT INTO flat SELECT i::VARCHAR, [i::VARCHAR], i FROM range(500) AS r(i)")
            connection.execute("CREATE OR REPLACE VIEW other AS FROM flat ORDER BY random()")
            assert fingerprint(connection, "flat", columns) == fingerprint(connection, "other", columns)
            one = fingerprint(connection, f"({row})", columns)
            assert one == fingerprint(connection, f"({row} FROM flat LIMIT 1)", columns)
            assert one == fingerprint(
                connection, f"(SELECT * FROM flat WHERE c IS NOT DISTINCT FROM {c} LIMIT 1)", columns
            )


# --- the shape of either format

SHAPES: dict[str, tuple[str, set[str]]] = {
    "table_gone": ("DROP TABLE rejected_rows", {"snapshot.database_tables", "rejected_rows.faces_equal"}),
    "table_more": ("CREATE TABLE notes (a INTEGER)", {"snapshot.database_tables"}),
    "column_more": ("ALTER TABLE rejected_rows ADD COLUMN a INTEGER", {"rejected_rows.database_columns"}),
    "nullable": ("ALTER TABLE rejected_rows ALTER detail DROP NOT NULL", {"rejected_rows.database_columns"}),
    "type": ("ALTER TABLE rejected_rows ALTER domain_id TYPE INTEGER", {"rejected_rows.database_columns"}),
    "comment_of_table": ("COMMENT ON TABLE rejected_rows IS NULL", {"rejected_rows.database_comments"}),
    "comment_of_column": (
        "COMMENT ON COLUMN rejected_rows.detail IS 'other'",
        {"rejected_rows.database_comments"},
    ),
    "rows": ("DELETE FROM rejected_rows", {"rejected_rows.database_rows", "rejected_rows.faces_equal"}),
    "info_gone": ("DROP TABLE snapshot_info", {"snapshot.database_tables", "snapshot.snapshot_info"}),
    "info_without_row": ("DELETE FROM snapshot_info", {"snapshot.snapshot_info"}),
    "info_twice": ("INSERT INTO snapshot_info FROM snapshot_info", {"snapshot.snapshot_info"}),
    "info_other_type": ("ALTER TABLE snapshot_info ALTER sequence TYPE INTEGER", {"snapshot.snapshot_info"}),
    "info_without_comment": ("COMMENT ON COLUMN snapshot_info.instant IS NULL", {"snapshot.snapshot_info"}),
    "info_without_column": ("ALTER TABLE snapshot_info DROP COLUMN source", {"snapshot.snapshot_info"}),
    **{
        f"info_{column}": (f"UPDATE snapshot_info SET {column} = {value}", {"snapshot.snapshot_info"})
        for column, value in {
            "snapshot_id": "'other'",
            "sequence": "sequence + 1",
            "source": "NULLIF('', ' ')",
            "instant": "instant + INTERVAL 1 MICROSECOND",
            "contract_version": "'1.2.0'",
            "published_at": "published_at + INTERVAL 1 MICROSECOND",
        }.items()
    },
}


@pytest.mark.parametrize(("statement", "expected"), SHAPES.values(), ids=SHAPES)
def test_another_shape_is_found(published: Kit, statement: str, expected: set[str]) -> None:
    change_database(published, statement)
    assert failures(published) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda: domain_rows([1, 2, 3, 4]), "domain_exports.parquet_rows"),
        (lambda: domain_rows([1, 3, 2, 4, 5]), "domain_exports.parquet_sorted"),
        (lambda: domain_rows([1, 2, 3, 4, 101]), "domain_exports.parquet_sorted"),
    ],
    ids=["rows", "order_inside", "order_over_files"],
)
def test_other_rows_in_a_parquet_file_are_found(
    published: Kit, change: Callable[[], pl.DataFrame], expected: str
) -> None:
    replace_rows(published, change())
    assert expected in failures(published)


def test_other_columns_in_a_parquet_file_are_found(published: Kit) -> None:
    path = published.current().folder / "domain_exports" / "000001.parquet"
    retyped = pl.read_parquet(path).cast({"retry_count": pl.Int64})
    path.unlink()
    retyped.write_parquet(path)
    checks = failed_checks(compare_duckdb_and_parquet(published.current()))
    assert checks[0].metadata["other_columns"] == ["domain_exports/000001.parquet"]


def test_another_contract_version_is_a_warning_and_files_are_verified(published: Kit) -> None:
    snapshot = published.current()
    older = type(snapshot)(snapshot.folder, snapshot.manifest.model_copy(update={"contract_version": "0.9.0"}))
    checks = verify_snapshot(older)
    assert [(check.name, check.severity) for check in checks if not check.passed] == [("contract_is_known", "warn")]


# --- sort order


@pytest.mark.parametrize(
    ("rows", "descents"),
    [
        ([(1, "a"), (1, "b"), (2, "a"), (None, "a"), (None, "b"), (None, None)], 0),
        ([(1, "a"), (1, "a")], 0),
        ([(1, "b"), (1, "a")], 1),
        ([(1, None), (1, "a")], 1),
        ([(None, "a"), (1, "a")], 1),
        ([(2, "a"), (1, "b"), (0, "c")], 2),
        ([(1, "Z"), (1, "a"), (1, "\u00e4")], 0),
    ],
)
def test_sort_order_is_ascending_null_last_by_bytes(tmp_path: Path, rows, descents: int) -> None:
    frame = pl.DataFrame(rows, schema={"a": pl.Int32, "b": pl.String}, orient="row")
    frame.write_parquet(tmp_path / "1.parquet")
    assert sum(count_descents([tmp_path / "1.parquet"], ["a", "b"]).values()) == descents
    frame[:1].write_parquet(tmp_path / "2.parquet")
    frame[1:].write_parquet(tmp_path / "3.parquet")
    frame[:0].write_parquet(tmp_path / "2b.parquet")
    files = [tmp_path / name for name in ("2.parquet", "2b.parquet", "3.parquet")]
    assert sum(count_descents(files, ["a", "b"]).values()) == descents


def test_no_message_holds_row_content(published: Kit) -> None:
    change_database(published, "UPDATE rejected_rows SET detail = 'secret'")
    with pytest.raises(SnapshotError) as caught:
        verify_snapshot(published.current())
    assert "secret" not in str(caught.value)
    assert REJECTED_ROWS.name in published.current().table_names
    assert rejected_rows(1).height == 1
