import os
import pickle
import re
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.contracts.tables import Table, candidate_exports, published_tables
from pipelines.contracts.views import VIEWS
from pipelines.errors import PublishError
from pipelines.snapshots.database import WriterOptions, build_database
from pipelines.snapshots.database_writer import ColumnTask, TableTask, Task, serve
from pipelines.snapshots.parquet import write_parquet
from tests.forking import run_forked
from tests.publish.kit import ROOT, in_duckdb, start_process
from tests.publish.rows import (
    CANDIDATE_EXPORTS,
    DOMAIN_EXPORTS,
    REJECTED_ROWS,
    TABLES,
    candidate_rows,
    domain_rows,
    rejected_rows,
    rows_of,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.fast

# A FIFO as Parquet file: DuckDB opens it and waits for ever, like a build that takes long.
BUILD = """
import os, sys
from pathlib import Path
from pipelines.snapshots.database import build_database
from tests.publish.rows import REJECTED_ROWS
build_database(Path(sys.argv[1]) / "exports.duckdb", [REJECTED_ROWS], {"rejected_rows": [Path(sys.argv[1]) / "fifo"]})
"""
FULL_DISK = """
import resource, sys
from pathlib import Path
from pipelines.errors import PublishError
from pipelines.snapshots.database import build_database
from tests.publish.rows import REJECTED_ROWS
resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, 400_000))
folder = Path(sys.argv[1])
try:
    build_database(folder / "exports.duckdb", [REJECTED_ROWS], {"rejected_rows": [folder / "all.parquet"]})
except PublishError as error:
    print(error)
"""
FEW_FILES = """
import resource, sys
from pathlib import Path
from pipelines.errors import PublishError
from pipelines.snapshots.database import build_database
from tests.publish.rows import REJECTED_ROWS
resource.setrlimit(resource.RLIMIT_NOFILE, (32, 32))
folder = Path(sys.argv[1])
try:
    build_database(folder / "exports.duckdb", [REJECTED_ROWS], {"rejected_rows": sorted(folder.glob("*.parquet"))})
except PublishError as error:
    print(error)
"""
READ_1_4 = """
import sys
sys.path.insert(0, sys.argv[1])
import duckdb
connection = duckdb.connect(sys.argv[2], read_only=True)
print(duckdb.__version__)
for table in ("domain_exports", "candidate_exports", "rejected_rows"):
    print(connection.execute(f"SELECT count(*) FROM (SELECT DISTINCT * FROM {table})").fetchone()[0])
print(connection.execute("SELECT count(*) FROM duckdb_columns() WHERE comment IS NOT NULL").fetchone()[0])
views = connection.execute("SELECT view_name FROM duckdb_views() WHERE comment IS NOT NULL").fetchall()
print(len([connection.execute(f"FROM {name}").fetchall() for name, in views]))
"""


@pytest.fixture
def files(tmp_path: Path) -> dict[str, list[Path]]:
    """Two segments and the rejected rows, as files."""
    frames = {
        "domain_exports": [domain_rows(range(50)), domain_rows(range(100, 120))],
        "candidate_exports": [candidate_rows(range(50)), candidate_rows(range(100, 120))],
        "rejected_rows": [rejected_rows(5)],
    }
    paths: dict[str, list[Path]] = {}
    for table in TABLES:
        for number, frame in enumerate(frames.get(table.name, [table.schema.create_empty()])):
            path = tmp_path / table.name / f"{number:06d}.parquet"
            write_parquet(frame, path, table=table, segment=number)
            paths.setdefault(table.name, []).append(path)
    return paths


def test_the_tables_have_the_rows_in_the_order_of_their_files(tmp_path: Path, files) -> None:
    database = tmp_path / "exports.duckdb"
    said: dict[str, int] = {}
    rows = build_database(database, TABLES, files, WriterOptions(on_table=said.__setitem__))
    built = {"domain_exports": 70, "candidate_exports": 140, "rejected_rows": 5}
    assert rows == said == {table.name: built.get(table.name, 0) for table in TABLES}
    for table in TABLES:
        expected = pl.concat([pl.read_parquet(path) for path in files[table.name]])
        assert_frame_equal(in_duckdb(f"SELECT * FROM {table.name}", database), expected)
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["exports.duckdb"]
    assert not (tmp_path / ".duckdb_spill").exists()


@pytest.mark.parametrize("table", published_tables(include_full_data=True), ids=lambda table: table.name)
def test_every_text_says_how_it_is_stored(table: Table) -> None:
    # A new column without a hint would be stored as DuckDB happens to like, at the price of trying.
    without = [name for name, kind in table.duckdb_types.items() if (kind == "VARCHAR") != bool(table.storage[name])]
    assert without == []


def test_texts_are_stored_as_the_contract_says(tmp_path: Path, files) -> None:
    database = tmp_path / "exports.duckdb"
    build_database(database, TABLES, files)
    query = "SELECT DISTINCT column_name, compression FROM pragma_storage_info('{}') WHERE segment_type = 'VARCHAR'"
    found = {name: set(in_duckdb(query.format(name), database).rows()) for name in ("domain_exports", "rejected_rows")}
    wanted = {
        "domain_exports": {("domain", "Uncompressed"), ("company_name", "ZSTD"), ("status", "DICT_FSST")},
        "rejected_rows": {("row_json", "ZSTD"), ("reason", "DICT_FSST")},
    }
    for name, ways in wanted.items():
        assert ways <= found[name]


def test_shape_and_comments_are_those_of_the_contract(tmp_path: Path, files) -> None:
    database = tmp_path / "exports.duckdb"
    build_database(database, TABLES, files)
    found = in_duckdb("SELECT table_name, column_name, data_type, is_nullable, comment FROM duckdb_columns()", database)
    for table in TABLES:
        of_table = [row[1:] for row in found.rows() if row[0] == table.name]
        assert of_table == [
            (name, kind, name not in table.required, table.column_descriptions[name])
            for name, kind in table.duckdb_types.items()
        ]
    comments = dict(in_duckdb("SELECT table_name, comment FROM duckdb_tables()", database).rows())
    assert comments == {table.name: table.description for table in TABLES}


def test_an_older_file_is_replaced_and_no_rows_are_fine(tmp_path: Path) -> None:
    database = tmp_path / "exports.duckdb"
    database.write_bytes(b"half a file of a run before")
    path = tmp_path / "all.parquet"
    write_parquet(pl.DataFrame(schema=REJECTED_ROWS.polars_schema), path, table=REJECTED_ROWS, segment=None)
    assert build_database(database, [REJECTED_ROWS], {"rejected_rows": [path]}) == {"rejected_rows": 0}
    assert in_duckdb("SELECT * FROM rejected_rows", database).schema == REJECTED_ROWS.polars_schema


def test_folders_with_glob_characters_and_equal_signs_stand_for_themselves(tmp_path: Path) -> None:
    folder = tmp_path / "a[1]*" / "x=1" / "it's"
    decoy = tmp_path / "a1b" / "x=1" / "it's" / "all.parquet"
    path = folder / "all.parquet"
    write_parquet(rejected_rows(3), path, table=REJECTED_ROWS, segment=None)
    write_parquet(rejected_rows(7), decoy, table=REJECTED_ROWS, segment=None)
    assert build_database(folder / "e.duckdb", [REJECTED_ROWS], {"rejected_rows": [path]}) == {"rejected_rows": 3}
    assert sorted(p.name for p in folder.iterdir()) == ["all.parquet", "e.duckdb"]


def test_a_null_in_a_required_column_names_the_column(tmp_path: Path) -> None:
    path = tmp_path / "all.parquet"
    broken = rejected_rows(5).with_columns(detail=pl.lit(None, pl.String))
    write_parquet(broken, path, table=REJECTED_ROWS, segment=None)
    with pytest.raises(PublishError, match=r"no NULL in rejected_rows\.detail"):
        build_database(tmp_path / "exports.duckdb", [REJECTED_ROWS], {"rejected_rows": [path]})
    assert [p.name for p in tmp_path.iterdir()] == ["all.parquet"]


def test_a_damaged_file_names_the_table_and_no_content(tmp_path: Path, files) -> None:
    path = files["candidate_exports"][1]
    content = bytearray(path.read_bytes())
    content[100:400] = b"secret" * 50
    path.write_bytes(content)
    with pytest.raises(PublishError, match="at table candidate_exports") as caught:
        build_database(tmp_path / "exports.duckdb", TABLES, files)
    assert "DuckDB" in caught.value.found
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "exports.duckdb").exists()


def test_wide_rows_fit_into_little_memory(tmp_path: Path) -> None:
    # 20,000 texts of 4 kB in one row group of DuckDB are 80 MB, more than its memory limit.
    table = candidate_exports(include_full_data=True)
    one = rows_of(table, [{"candidate_id": 1, "domain_id": 1}])
    ids = pl.DataFrame({"id": range(20_000)}, schema={"id": pl.Int64})
    texts = pl.col("id").hash(1).cast(pl.String).repeat_by(200).list.join("")
    rows = ids.join(one, how="cross").with_columns(candidate_id="id", gleif_full_data=texts).drop("id")
    path = tmp_path / "000000.parquet"
    write_parquet(rows, path, table=table, segment=0)
    built = build_database(tmp_path / "e.duckdb", [table], {table.name: [path]}, WriterOptions(memory_mb=64))
    assert built == {table.name: 20_000}


def test_a_full_disk_names_the_way_out(tmp_path: Path) -> None:
    write_parquet(rejected_rows(20_000), tmp_path / "all.parquet", table=REJECTED_ROWS, segment=None)
    said = run_forked(FULL_DISK, tmp_path).stdout
    assert "no room on the disk" in said
    assert "free space" in said
    assert [p.name for p in tmp_path.iterdir()] == ["all.parquet"]


def test_too_few_files_name_the_way_out(tmp_path: Path) -> None:
    for number in range(60):
        write_parquet(rejected_rows(3), tmp_path / f"{number:06}.parquet", table=REJECTED_ROWS, segment=number)
    said = run_forked(FEW_FILES, tmp_path).stdout
    assert "Found: too many open files" in said
    assert "ulimit -n" in said
    assert "verify" not in said
    assert not (tmp_path / "exports.duckdb").exists()


def test_a_killed_writer_is_our_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with start_process(BUILD, tmp_path) as parent:
        os.kill(wait_for_child(parent.pid, tmp_path), signal.SIGKILL)
        _, errors = parent.communicate(timeout=120)
    assert "PublishError" in errors
    assert "killed by signal 9" in errors
    assert [p.name for p in tmp_path.iterdir()] == ["fifo"]


def test_what_crashes_in_the_writer_is_in_our_error(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with start_process(BUILD, tmp_path) as parent:
        os.kill(wait_for_child(parent.pid, tmp_path), signal.SIGSEGV)
        _, errors = parent.communicate(timeout=120)
    assert re.search(r"killed by signal 11 after Fatal Python error: Segmentation fault at \w+\.py:\d+", errors)


def test_the_writer_dies_with_its_killed_parent(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with start_process(BUILD, tmp_path) as parent:
        child = wait_for_child(parent.pid, tmp_path)
        parent.kill()
        wait_until_gone(child)


def test_the_writer_ends_when_its_stdin_ends(tmp_path: Path) -> None:
    """Without the kernel's signal, as on macOS: the parent here is alive."""
    os.mkfifo(tmp_path / "fifo")
    database = tmp_path / "exports.duckdb"
    columns = (ColumnTask("a", "A column", "INTEGER"),)
    table = TableTask("t", "A table", columns, ("a",), (str(tmp_path / "fifo"),))
    task = Task(str(database), str(tmp_path / "spill"), 128, (table,))
    command = [sys.executable, "-m", "pipelines.system.child", str(os.getpid()), serve.__module__, serve.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd=ROOT) as worker:
        assert worker.stdin is not None
        pickle.dump(task, worker.stdin)
        worker.stdin.flush()
        wait_until(database.exists)
        assert worker.poll() is None
        worker.stdin.close()
        assert worker.wait(60) == 1


@pytest.mark.parametrize("in_process", [False, True], ids=["child", "in process"])
def test_written_in_this_process_it_is_the_same(tmp_path: Path, files, *, in_process: bool) -> None:
    """For tests that are not about the process: the same rows, the same words for what is wrong."""
    options = WriterOptions(in_process=in_process)
    rows = build_database(tmp_path / "exports.duckdb", TABLES, files, options)
    assert rows["candidate_exports"] == 140
    assert in_duckdb("FROM candidate_exports", tmp_path / "exports.duckdb").height == 140
    files["rejected_rows"][0].write_bytes(b"PAR1")
    with pytest.raises(PublishError, match=r"could not be built, at table rejected_rows[\s\S]*DuckDB"):
        build_database(tmp_path / "exports.duckdb", TABLES, files, options)
    assert not (tmp_path / "exports.duckdb").exists()


@pytest.mark.skipif("LEI_EXPORTS_DUCKDB14" not in os.environ, reason="LEI_EXPORTS_DUCKDB14: a folder with DuckDB 1.4")
def test_duckdb_1_4_reads_the_file(tmp_path: Path, files) -> None:
    build_database(tmp_path / "exports.duckdb", TABLES, files)
    said = read_by_1_4(tmp_path / "exports.duckdb")
    assert re.match(r"1\.4\.", said[0])
    columns = sum(len(relation.columns) for relation in (*TABLES, *VIEWS))
    assert said[1:] == ["70", "140", "5", str(columns), str(len(VIEWS))]


def test_the_storage_version_is_that_of_duckdb_1_4(tmp_path: Path, files) -> None:
    build_database(tmp_path / "exports.duckdb", TABLES, files)
    with duckdb.connect(":memory:") as connection:
        connection.execute(f"ATTACH '{tmp_path / 'exports.duckdb'}' AS e (READ_ONLY)")
        tags = connection.execute("SELECT tags FROM duckdb_databases() WHERE database_name = 'e'").fetchall()[0][0]
    assert tags["storage_version"].startswith("v1.4.0")


def read_by_1_4(database: Path) -> list[str]:
    """What READ_1_4 prints: in an interpreter that has not loaded another DuckDB."""
    with start_process(READ_1_4, os.environ["LEI_EXPORTS_DUCKDB14"], database) as reader:
        out, err = reader.communicate(timeout=240)
    assert reader.returncode == 0, err
    return out.split()


def wait_for_child(parent: int, folder: Path) -> int:
    """The process id of the writer, once it builds: by then it watches its parent."""
    wait_until((folder / "exports.duckdb").exists)
    (child,) = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return int(child)


def wait_until_gone(pid: int) -> None:
    def is_gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        except OSError:
            return True

    wait_until(is_gone)


def test_the_hand_written_rows_are_in_sort_order() -> None:
    for table, rows in ((CANDIDATE_EXPORTS, candidate_rows(range(5))), (DOMAIN_EXPORTS, domain_rows(range(5)))):
        assert_frame_equal(rows, rows.sort(table.sort_by, nulls_last=True))
