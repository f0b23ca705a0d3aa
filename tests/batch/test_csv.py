"""The CSV, against SQL in PostgreSQL, Python's csv and DuckDB."""

import codecs
from pathlib import Path

import duckdb
import pytest

from pipelines.query.batch.batches import batch_of
from pipelines.query.batch.chunks import ChunkSize
from pipelines.query.batch.files import DEFAULTS, BatchFormat, BatchOptions, stream_batch
from tests.batch.conftest import AWKWARD, Exported
from tests.batch.kit import HEADER, NUMBERS, TIMES, batch_ids, csv_rows, file_of, made_harmless, reader_of

pytestmark = [pytest.mark.integration, pytest.mark.fast]
RAW = BatchOptions(raw=True)


def test_every_cell_of_every_batch_is_what_postgres_says(exported: Exported) -> None:
    assert batch_ids(exported.snapshot) == sorted(exported.cells)
    with reader_of(exported.snapshot) as reader:
        for batch_id, cells in exported.cells.items():
            batch = batch_of(reader, batch_id)
            assert csv_rows(b"".join(stream_batch(batch, BatchFormat.CSV, RAW))) == [list(HEADER), *cells], batch_id
            harmless = made_harmless(cells)
            if harmless != cells or len(cells) > 2:
                found = csv_rows(b"".join(stream_batch(batch, BatchFormat.CSV, DEFAULTS)))
                assert found == [list(HEADER), *harmless], batch_id


def test_hostile_texts_were_made_harmless(hostile: Exported) -> None:
    names = [row[1] for row in csv_rows(file_of(hostile.snapshot, "hostile-batch", "csv"))]
    for formula in ("=1+1", "+1", "-1", "@SUM(A1)", "\uff1d1"):
        assert f"'{formula}" in names
        assert formula not in names
    countries = [row[6] for row in csv_rows(file_of(hostile.snapshot, "hostile-batch", "csv"))]
    assert "\u00a0nbsp\u00a0" in countries


def test_the_bytes_are_rfc_4180(awkward: Exported) -> None:
    content = file_of(awkward.snapshot, "a/b", "csv")
    lines = content.decode().split("\r\n")
    assert lines[0] == ",".join(f'"{header}"' for header in HEADER)
    assert lines[-1] == ""
    assert len(lines) == 1 + 6 + 1
    assert '"\'=HYPERLINK(""http://x"")"' in lines[2]
    for line in lines[1:-1]:
        assert line.startswith('"')
        assert line.endswith('"')
        assert ',"0",' in line, "a true zero"
        assert ',"-1",' in line, "a negative number is no formula"
        assert ',"85.3",' in line
        assert line.endswith(',"2025-06-24T03:01:05.390Z",""'), "cut to milliseconds, not rounded; NULL is empty"


def test_bom_is_only_there_when_asked_for(sample: Exported) -> None:
    batch_id = batch_ids(sample.snapshot)[0]
    plain = file_of(sample.snapshot, batch_id, "csv")
    assert not plain.startswith(codecs.BOM_UTF8)
    assert file_of(sample.snapshot, batch_id, "csv", BatchOptions(bom=True)) == codecs.BOM_UTF8 + plain


def test_duckdb_reads_the_same_cells(exported: Exported, tmp_path: Path) -> None:
    with duckdb.connect(":memory:") as connection:
        assert_duckdb_reads(connection, exported, tmp_path)


def assert_duckdb_reads(connection: duckdb.DuckDBPyConnection, exported: Exported, tmp_path: Path) -> None:
    for number, (batch_id, cells) in enumerate(exported.cells.items()):
        if number % 7 and len(cells) < 20:
            continue
        path = tmp_path / f"{number}.csv"
        path.write_bytes(file_of(exported.snapshot, batch_id, "csv", RAW))
        read = connection.sql(
            "SELECT * FROM read_csv($path, all_varchar = true, header = true, delim = ',', quote = '\"', escape = '\"',"
            " new_line = '\\r\\n', max_line_size = 8000000, nullstr = 'no text is NULL', parallel = false)",
            params={"path": str(path)},
        )
        assert read.columns == list(HEADER)
        assert [["" if c is None else c for c in row] for row in read.fetchall()] == cells, batch_id


def test_awkward_codes_stay_text(awkward: Exported) -> None:
    rows = [dict(zip(HEADER, row, strict=True)) for row in csv_rows(file_of(awkward.snapshot, "a/b", "csv", RAW))[1:]]
    assert [(row["Primary LEI Code"], row["Country"], row["Company Name"]) for row in rows] == AWKWARD
    assert rows[0]["All LEI Codes"] == "; ".join(code for code, _, _ in AWKWARD)


@pytest.mark.parametrize("batch_format", ["csv", "json", "ndjson"])
def test_chunks_do_not_show(sample: Exported, batch_format: str) -> None:
    batch_id = max(sample.cells, key=lambda name: len(sample.cells[name]))
    whole = file_of(sample.snapshot, batch_id, batch_format)
    for size in (ChunkSize(1, 1), ChunkSize(7, 10_000), ChunkSize(10_000, 3)):
        assert file_of(sample.snapshot, batch_id, batch_format, BatchOptions(size=size)) == whole


def test_numbers_and_times_are_the_columns_that_are_no_text(sample: Exported) -> None:
    schema = sample.snapshot.scan("domain_exports").collect_schema()
    assert {header for header, name in HEADER.items() if schema[name].is_numeric()} == NUMBERS
    assert {header for header, name in HEADER.items() if schema[name].is_temporal()} == TIMES
