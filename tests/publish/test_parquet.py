from pathlib import Path

import polars as pl
import pytest
from dataframely.random import Generator
from polars.testing import assert_frame_equal

from pipelines.contracts.tables import candidate_exports
from pipelines.errors import ContractError, PublishError
from pipelines.snapshots.parquet import footer, write_parquet
from pipelines.system.files import sha256_of
from tests.forking import run_forked
from tests.publish.kit import in_duckdb
from tests.publish.rows import CANDIDATE_EXPORTS, DOMAIN_EXPORTS, REJECTED_ROWS, TABLES, candidate_rows, domain_rows

pytestmark = pytest.mark.fast

FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.errors import PublishError
from pipelines.snapshots.parquet import write_parquet
from tests.publish.rows import DOMAIN_EXPORTS, domain_rows
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
frame = domain_rows(range(1000))
try:
    write_parquet(getattr(frame, sys.argv[2])(), Path(sys.argv[1]), table=DOMAIN_EXPORTS, segment=0)
except PublishError as error:
    print(error)
"""


def test_the_record_says_what_was_written(tmp_path: Path) -> None:
    path = tmp_path / "domain_exports" / "000007.parquet"
    record = write_parquet(domain_rows(range(5)), path, table=DOMAIN_EXPORTS, segment=7)
    assert (record.path, record.segment, record.rows) == ("domain_exports/000007.parquet", 7, 5)
    assert (record.bytes, record.sha256) == (path.stat().st_size, sha256_of(path))
    assert record.first_snapshot is None
    assert [p.name for p in path.parent.iterdir()] == ["000007.parquet"]
    assert_frame_equal(pl.read_parquet(path), domain_rows(range(5)))


def test_the_footer_names_contract_table_and_segment_and_no_run(tmp_path: Path) -> None:
    path = tmp_path / "t" / "a.parquet"
    write_parquet(domain_rows([1]), path, table=DOMAIN_EXPORTS, segment=3)
    metadata = pl.read_parquet_metadata(path)
    own = {key: value for key, value in metadata.items() if key.startswith("lei_exports.")}
    assert own == {
        "lei_exports.contract_version": "2.1.0",
        "lei_exports.table": "domain_exports",
        "lei_exports.segment": "3",
    }
    assert set(metadata) - set(own) <= {"ARROW:schema"}
    assert footer(REJECTED_ROWS, None)["lei_exports.segment"] == "all"


def test_the_same_rows_give_the_same_bytes_however_they_come(tmp_path: Path) -> None:
    rows = candidate_rows(range(20_000), per_domain=3)  # three row groups
    in_chunks = pl.concat([rows[:7], rows[7:25_001], rows[25_001:]], rechunk=False)
    shuffled = rows.sample(fraction=1, shuffle=True, seed=1).lazy().sort(CANDIDATE_EXPORTS.sort_by, nulls_last=True)
    digests = {
        write_parquet(frame, tmp_path / f"{i}.parquet", table=CANDIDATE_EXPORTS, segment=0).sha256
        for i, frame in enumerate([rows, rows.lazy(), in_chunks, in_chunks.lazy(), shuffled])
    }
    assert len(digests) == 1


def test_row_groups_have_statistics_and_a_size_fit_for_pruning(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(candidate_rows(range(20_000), per_domain=3), path, table=CANDIDATE_EXPORTS, segment=0)
    groups = in_duckdb(
        f"SELECT row_group_num_rows, stats_min_value, stats_max_value, compression FROM parquet_metadata('{path}')"
        " WHERE path_in_schema = 'domain_id' ORDER BY row_group_id"
    ).rows()
    assert [group[0] for group in groups] == [25_000, 25_000, 10_000]
    assert groups[0][1] == "0"
    assert int(groups[1][1]) in range(8_300, 8_400)
    assert {group[3] for group in groups} == {"ZSTD"}


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_no_rows_give_one_file_with_all_columns(tmp_path: Path, table) -> None:
    path = tmp_path / "all.parquet"
    record = write_parquet(pl.DataFrame(schema=table.polars_schema), path, table=table, segment=None)
    assert record.rows == 0
    assert pl.read_parquet_schema(path) == table.polars_schema
    described = in_duckdb(f"DESCRIBE SELECT * FROM '{path}'").rows()
    assert {row[0]: row[1] for row in described} == table.duckdb_types


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda f: f.drop("domain_hash"), "missing: domain_hash"),
        (lambda f: f.with_columns(secret=1), "not in the contract: secret"),
        (lambda f: f.cast({"domain_id": pl.Int32}), r"other type: domain_id Int64 \(found Int32\)"),
        (lambda f: f.cast({"created_at": pl.Datetime("ms")}), "created_at"),
        (lambda f: f.select(*f.columns[1:], f.columns[0]), "another order"),
    ],
    ids=["missing", "extra", "type", "time_unit", "order"],
)
def test_other_columns_than_the_contract_are_refused(tmp_path: Path, change, said: str) -> None:
    path = tmp_path / "a.parquet"
    for frame in (change(domain_rows([1])), change(domain_rows([1])).lazy()):
        with pytest.raises(ContractError, match=said):
            write_parquet(frame, path, table=DOMAIN_EXPORTS, segment=0)
    assert not list(tmp_path.iterdir())


def test_a_frame_that_fails_half_way_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_parquet(domain_rows([1]), path, table=DOMAIN_EXPORTS, segment=0)
    broken = domain_rows([1]).lazy().with_columns(pl.lit("x").cast(pl.Int64).alias("domain_id"))
    with pytest.raises(pl.exceptions.PolarsError):
        write_parquet(broken, path, table=DOMAIN_EXPORTS, segment=0)
    assert pl.read_parquet(path).height == 1
    assert [p.name for p in tmp_path.iterdir()] == ["a.parquet"]


@pytest.mark.parametrize("kind", ["clone", "lazy"])
def test_a_full_disk_is_our_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.parquet"
    said = run_forked(FULL_DISK, path, kind).stdout
    assert "could not be written" in said
    assert "free space" in said
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_our_error(tmp_path: Path) -> None:
    (tmp_path / "domain_exports").write_text("a file where the folder should be")
    with pytest.raises(PublishError, match="could not be written"):
        write_parquet(domain_rows([1]), tmp_path / "domain_exports" / "a.parquet", table=DOMAIN_EXPORTS, segment=0)


@pytest.mark.parametrize(
    "table", [*TABLES, candidate_exports(include_full_data=True)], ids=lambda table: table.schema.__name__
)
def test_any_frame_of_the_contract_survives_both_readers(tmp_path: Path, table) -> None:
    # Seeds instead of Hypothesis: DuckDB 2.0 reports leaks at the exit of a process in which Hypothesis ran.
    path = tmp_path / "a.parquet"
    for seed in range(12):
        rows = pl.DataFrame(table.schema.sample(seed * 5, generator=Generator(seed)))
        write_parquet(rows.lazy(), path, table=table, segment=None)
        assert_frame_equal(pl.read_parquet(path), rows)
        assert_frame_equal(in_duckdb(f"SELECT * FROM '{path}'"), rows)
