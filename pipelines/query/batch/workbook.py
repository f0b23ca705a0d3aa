"""A batch as an Excel workbook: one sheet with the columns of the CSV, real numbers and times, texts that stay texts.

Rows go to the disk as they come (xlsxwriter's constant_memory); Polars' write_excel would hold the whole workbook in
memory and cut long cells without a word.
"""

from collections.abc import Callable
from datetime import datetime
from html import escape
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO, NamedTuple

import xlsxwriter
from xlsxwriter.exceptions import FileCreateError
from xlsxwriter.format import Format
from xlsxwriter.worksheet import Worksheet

from pipelines.errors import BatchFileError
from pipelines.query.batch.batches import DOMAINS, Batch
from pipelines.query.batch.chunks import ChunkQueries, ChunkSize, LargeDomain, LargeRow
from pipelines.query.batch.expressions import cell_text
from pipelines.query.batch.text_formats import OF_CHUNK, SHEET_COLUMNS

EXCEL_ROWS = 1_048_575
EXCEL_CHARACTERS = 32_767
_SHEET = "Batch"
_TIME_FORMAT = "yyyy-mm-dd hh:mm:ss.000"
# Before 1 March 1900 Excel's calendar is off by a day; before 1900 and after 9999 it has none.
_FIRST_TIME = "1900-03-01"
_TIME_LENGTH = len("2025-06-24T03:01:05.390Z")


class Cut(NamedTuple):
    """A text that was cut because Excel takes no longer ones; the cell says so at its end.

    Attributes:
        header: Its column.
        characters: How long it was.
    """

    domain_id: int
    header: str
    characters: int


class _LongText(NamedTuple):
    """A text that is longer than Excel takes, and is not here as a whole.

    Attributes:
        beginning: Its first characters, as many as a cell takes.
        utf16_length: How long it is as Excel counts.
    """

    beginning: str
    utf16_length: int


def check_fits(batch: Batch, max_rows: int) -> None:
    """See that a batch fits in a sheet.

    Raises:
        BatchFileError: It has more rows than Excel takes.
    """
    if batch.domain_count > max_rows:
        raise BatchFileError(
            "The batch does not fit in a workbook",
            expected=f"at most {max_rows:,} rows",
            found=f"{batch.domain_count:,}",
            fix="take csv or parquet, which have no such limit",
        )


def write_workbook(batch: Batch, file: BinaryIO, size: ChunkSize, max_rows: int) -> tuple[Cut, ...]:
    """Write the batch as xlsx.

    Args:
        file: Where to, seekable; it stays open.

    Returns:
        The texts that were cut.

    Raises:
        BatchFileError: The batch has more rows than that.
        SnapshotError: The snapshot can't be read any more.
        OSError: The file can't be written.
    """
    check_fits(batch, max_rows)
    with TemporaryDirectory(prefix="lei-exports-") as folder:
        workbook = xlsxwriter.Workbook(file, {"constant_memory": True, "tmpdir": folder})
        sheet = workbook.add_worksheet(_SHEET)
        try:
            cuts = _write_sheet(workbook, sheet, batch, size)
            workbook.close()
        except FileCreateError as error:
            raise error.args[0] from error  # the OSError that it hides
        finally:
            sheet.row_data_fh.close()  # the file of rows in `folder`
    return tuple(cuts)


def _write_sheet(workbook: xlsxwriter.Workbook, sheet: Worksheet, batch: Batch, size: ChunkSize) -> list[Cut]:
    workbook.use_zip64()
    # The same snapshot gives the same bytes, whenever it is asked.
    workbook.set_properties({"created": batch.snapshot.manifest.created_at.replace(tzinfo=None)})
    # Texts are cut here, marked; xlsxwriter's own cut is silent, and would break the escaped ones.
    sheet.xls_strmax = EXCEL_CHARACTERS * 8
    bold, time_format = workbook.add_format({"bold": True}), workbook.add_format({"num_format": _TIME_FORMAT})
    sheet.freeze_panes(1, 0)
    for number, column in enumerate(SHEET_COLUMNS):
        sheet.set_column(number, number, column.width)
        sheet.write_string(0, number, column.header, bold)
    sheet.autofilter(0, 0, batch.domain_count, len(SHEET_COLUMNS) - 1)
    # Codes of digits only are meant as texts: no green corners.
    sheet.ignore_errors({"number_stored_as_text": f"A1:Y{batch.domain_count + 1}"})
    kinds = [batch.domain_columns[column.name] for column in SHEET_COLUMNS]
    cells = ", ".join(cell_text(column.name, kind) for column, kind in zip(SHEET_COLUMNS, kinds, strict=True))
    sql = f"SELECT domain_id, {cells} FROM {DOMAINS} WHERE {OF_CHUNK} ORDER BY domain_id"
    writers: list[_Write] = [_WRITERS.get(kind, _write_number) for kind in kinds]
    cuts: list[Cut] = []
    row = 0

    def ask(chunk: ChunkQueries) -> list[tuple[Any, ...]]:
        return chunk.rows(sql)

    def ask_large(domain: LargeDomain) -> list[tuple[Any, ...]]:
        columns = zip(SHEET_COLUMNS, kinds, strict=True)
        return [(domain.domain_id, *(_value(domain, column.name, kind) for column, kind in columns))]

    for rows in batch.read(ask, size, ask_large):
        for domain_id, *values in rows:
            row += 1
            for number, value in enumerate(values):
                if value is None or value == "":
                    continue
                length = writers[number](sheet, row, number, value, time_format)
                if length > EXCEL_CHARACTERS:
                    cuts.append(Cut(domain_id, SHEET_COLUMNS[number].header, length))
    return cuts


def _value(row: LargeRow, name: str, kind: str) -> Any:  # noqa: ANN401  as DuckDB gives it
    """The value of a cell; of a long text its beginning."""
    if kind != "VARCHAR":
        return row.value(cell_text(name, kind))
    pieces = row.texts(name)
    if pieces is None:
        return None
    beginning, length = "", 0
    for piece in pieces:
        beginning += piece[: EXCEL_CHARACTERS + 1 - len(beginning)]
        length += _utf16_length(piece)
    return _LongText(beginning, length) if length > EXCEL_CHARACTERS else beginning


def _write_text(sheet: Worksheet, row: int, column: int, text: "str | _LongText", _: Format) -> int:
    """Write a text, never a formula, number or link; its length as Excel counts."""
    length = len(text) if isinstance(text, str) else text.utf16_length
    if isinstance(text, _LongText):
        text = _cut(text.beginning, length)
    elif length * 2 > EXCEL_CHARACTERS:
        length = _utf16_length(text)
        if length > EXCEL_CHARACTERS:
            text = _cut(text, length)
    if text.startswith("<r>") and text.endswith("</r>"):
        # xlsxwriter takes this for the XML of a rich text and does not escape it: give it such XML.
        text = f'<r><t xml:space="preserve">{escape(text, quote=False)}</t></r>'
    sheet.write_string(row, column, text)
    return length


def _write_number(sheet: Worksheet, row: int, column: int, value: float | str, _: Format) -> int:
    sheet.write_number(row, column, float(value))
    return 0


def _write_time(sheet: Worksheet, row: int, column: int, text: str, time_format: Format) -> int:
    if len(text) == _TIME_LENGTH and text >= _FIRST_TIME:
        sheet.write_datetime(row, column, datetime.fromisoformat(text).replace(tzinfo=None), time_format)
    else:
        sheet.write_string(row, column, text)
    return 0


_Write = Callable[[Worksheet, int, int, Any, Format], int]
_WRITERS: dict[str, _Write] = {"VARCHAR": _write_text, "TIMESTAMP": _write_time}


def _utf16_length(text: str) -> int:
    return len(text.encode("utf-16-le")) // 2


def _cut(text: str, length: int) -> str:
    mark = f" [cut: {length:,} characters]"
    kept = text.encode("utf-16-le")[: (EXCEL_CHARACTERS - len(mark)) * 2]
    return kept.decode("utf-16-le", "ignore") + mark
