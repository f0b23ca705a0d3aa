"""The workbook, against PostgreSQL's cells, read by openpyxl."""

import io
import re
import zipfile
from datetime import datetime, timedelta
from typing import Any

import openpyxl
import pytest
from openpyxl.worksheet.worksheet import Worksheet

from pipelines.errors import BatchFileError
from pipelines.query.batch.batches import open_batch
from pipelines.query.batch.files import BatchFormat, BatchOptions, encode_batch, stream_batch
from pipelines.query.batch.workbook import EXCEL_CHARACTERS
from tests.batch.conftest import AWKWARD, Exported
from tests.batch.kit import HEADER, NUMBERS, TIMES, file_of, sample_of
from tests.exporting import export, settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.fast]

LONG = "\U0001f4be" * 20_000  # 40,000 as Excel counts


def sheet_of(content: bytes) -> Worksheet:
    sheet = openpyxl.load_workbook(io.BytesIO(content)).active
    assert isinstance(sheet, Worksheet)
    return sheet


def excel_text(text: str) -> str:
    """A text as Excel shows it: `_x0001_` is a character (ECMA-376, ST_Xstring), which openpyxl leaves."""
    return re.sub(r"_x([0-9A-F]{4})_", lambda code: chr(int(code[1], 16)), text)


def expected(header: str, cell: str) -> Any:
    if cell == "":
        return None
    if header in NUMBERS:
        return float(cell)
    if header in TIMES and re.match(r"\d{4}-", cell) and cell >= "1900-03-01":
        return datetime.fromisoformat(cell).replace(tzinfo=None)
    length = len(cell.encode("utf-16-le")) // 2
    if length > EXCEL_CHARACTERS:
        mark = f" [cut: {length:,} characters]"
        return cell.encode("utf-16-le")[: 2 * (EXCEL_CHARACTERS - len(mark))].decode("utf-16-le", "ignore") + mark
    return cell


def found(value: Any) -> Any:
    if isinstance(value, str):
        return excel_text(value)
    if isinstance(value, datetime):  # a fraction of a day in 64 bits
        return value.replace(microsecond=0) + timedelta(milliseconds=round(value.microsecond / 1000))
    return value


def test_every_cell_is_what_postgres_says_and_typed(exported: Exported) -> None:
    for batch_id in sample_of(exported.cells, 12):
        cells = exported.cells[batch_id]
        sheet = sheet_of(file_of(exported.snapshot, batch_id, "xlsx"))
        rows = list(sheet.iter_rows())
        assert [cell.value for cell in rows[0]] == list(HEADER)
        assert len(rows) == len(cells) + 1
        for row, wanted in zip(rows[1:], cells, strict=True):
            for cell, header, text in zip(row, HEADER, wanted, strict=True):
                assert found(cell.value) == expected(header, text), (batch_id, header)
                assert cell.data_type != "f"
                assert cell.hyperlink is None


def test_the_sheet_is_ready_for_people(sample: Exported) -> None:
    batch_id, cells = max(sample.cells.items(), key=lambda item: len(item[1]))
    sheet = sheet_of(file_of(sample.snapshot, batch_id, "xlsx"))
    assert sheet.freeze_panes == "A2"
    assert sheet.auto_filter.ref == f"A1:Y{len(cells) + 1}"
    assert sheet["A1"].font.bold
    assert sheet.column_dimensions["B"].width > 30
    created = next(cell for cell in sheet["X"][1:] if cell.value)
    assert created.is_date
    assert created.number_format == "yyyy-mm-dd hh:mm:ss.000"


def test_numbers_are_numbers_and_codes_are_text(awkward: Exported) -> None:
    rows = list(sheet_of(file_of(awkward.snapshot, "a/b", "xlsx")).iter_rows(min_row=2, values_only=True))
    names = list(HEADER)
    assert [(row[4], row[6], row[1]) for row in rows] == AWKWARD
    assert [row[names.index("Confidence Score")] for row in rows] == [85.3] * 6
    assert [row[names.index("Retry Count")] for row in rows] == [0] * 6


def test_the_same_snapshot_gives_the_same_bytes(sample: Exported) -> None:
    batch_id = next(iter(sample.cells))
    assert file_of(sample.snapshot, batch_id, "xlsx") == file_of(sample.snapshot, batch_id, "xlsx")


def test_more_rows_than_excel_takes_are_an_error_before_the_first_byte(sample: Exported) -> None:
    batch_id, cells = max(sample.cells.items(), key=lambda item: len(item[1]))
    options = BatchOptions(max_excel_rows=len(cells) - 1)
    with open_batch(sample.snapshot, batch_id) as batch:
        with pytest.raises(BatchFileError, match=rf"at most {len(cells) - 1} rows. Found: {len(cells)}\."):
            stream_batch(batch, BatchFormat.XLSX, options)
        with io.BytesIO() as target:
            with pytest.raises(BatchFileError):
                encode_batch(batch, BatchFormat.XLSX, target, options)
            assert target.getvalue() == b""
    assert file_of(sample.snapshot, batch_id, "xlsx", BatchOptions(max_excel_rows=len(cells)))


def test_long_and_dangerous_texts(database: Database, tmp_path: Any) -> None:
    texts = [
        LONG,
        "x" * EXCEL_CHARACTERS,
        "y" * (EXCEL_CHARACTERS + 1),
        "<r>&amp;</r>",  # xlsxwriter would paste it into the XML as it is
        "<r><t>&</t></r>",
        "<r>" + "&" * (EXCEL_CHARACTERS - 7) + "</r>",
        "_x0041_",
        "\u0001\u001f\uffff\ufffe\r\n\r",
        "{=1+1}",
        "https://example.com/",
        "mailto:a@b.example",
        " ",
        "\n",
    ]
    with database.connect() as connection:
        create_source_tables(connection)
        rows = [
            {"id": number, "domain": "d.example", "status": "success", "batch_id": "b", "company_name": text}
            for number, text in enumerate(texts)
        ]
        insert_source(connection, rows, [])
    snapshot = export(settings_for(database, tmp_path))
    with open_batch(snapshot, "b") as batch, io.BytesIO() as target:
        written = encode_batch(batch, BatchFormat.XLSX, target)
        content = target.getvalue()
    assert [(cut.domain_id, cut.header, cut.characters) for cut in written.cuts] == [
        (0, "Company Name", 40_000),
        (2, "Company Name", EXCEL_CHARACTERS + 1),
    ]
    names = [excel_text(row[1]) for row in sheet_of(content).iter_rows(min_row=2, values_only=True)]
    assert names == [expected("Company Name", text) for text in texts]
    assert names[0].endswith("\U0001f4be [cut: 40,000 characters]")
    assert all(len(name.encode("utf-16-le")) <= 2 * EXCEL_CHARACTERS for name in names)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.testzip() is None
        assert not any("hyperlink" in name.lower() or "rels/sheet" in name for name in archive.namelist())
