"""A batch as CSV, JSON or NDJSON: bytes, a chunk of rows at a time, put together by DuckDB."""

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pipelines.contracts.orders import RANK_ORDER_SQL
from pipelines.query.batch.batches import CANDIDATES, DOMAINS, Batch
from pipelines.query.batch.chunks import ChunkQueries, ChunkSize, LargeDomain, LargeRow
from pipelines.query.batch.expressions import csv_cell, json_escaped, json_value
from pipelines.snapshots.duckdb_connections import quoted, quoted_text

_LINE_END = "\r\n"
_BLOCK_CHARACTERS = 1 << 18
_BETWEEN = ',"candidates":['
# A row as parts of its text: of a large one they are read as they are wanted.
_Row = Iterable[str]
OF_CHUNK = "batch_id = $batch_id AND domain_id BETWEEN $first_id AND $last_id"


class SheetColumn(NamedTuple):
    """A column of the CSV and of the workbook.

    Attributes:
        header: What stands in the first row.
        width: Its width in the workbook, characters.
    """

    header: str
    name: str
    width: int


SHEET_COLUMNS = (
    SheetColumn("Domain", "domain", 28),
    SheetColumn("Company Name", "company_name", 32),
    SheetColumn("Extraction Method", "extraction_method", 20),
    SheetColumn("Confidence Score", "confidence_score", 17),
    SheetColumn("Primary LEI Code", "primary_lei_code", 24),
    SheetColumn("Primary GLEIF Name", "primary_gleif_name", 32),
    SheetColumn("Country", "guessed_country", 10),
    SheetColumn("Total GLEIF Candidates", "gleif_candidate_count", 23),
    SheetColumn("All LEI Codes", "all_lei_codes", 48),
    SheetColumn("All Legal Names", "all_legal_names", 48),
    SheetColumn("All Jurisdictions", "all_jurisdictions", 20),
    SheetColumn("All Entity Statuses", "all_entity_statuses", 20),
    SheetColumn("Level 2 Status", "level2_status", 22),
    SheetColumn("Level 2 Candidates Count", "level2_candidates_count", 25),
    SheetColumn("Final Legal Name", "final_legal_name", 32),
    SheetColumn("Final Confidence", "final_confidence", 17),
    SheetColumn("Recommendation", "recommendation", 24),
    SheetColumn("Processing Time (ms)", "processing_time_ms", 21),
    SheetColumn("Status", "status", 12),
    SheetColumn("Error Message", "error_message", 32),
    SheetColumn("Failure Category", "failure_category", 20),
    SheetColumn("Technical Details", "technical_details", 32),
    SheetColumn("Retry Count", "retry_count", 13),
    SheetColumn("Created At", "created_at", 24),
    SheetColumn("Processed At", "processed_at", 24),
)


def stream_csv(batch: Batch, size: ChunkSize, *, raw: bool, bom: bool) -> Iterator[bytes]:
    """The batch as CSV (RFC 4180): every cell quoted, lines end with CR LF.

    Yields:
        The header line, then rows.
    """
    header = ",".join(f'"{column.header}"' for column in SHEET_COLUMNS) + _LINE_END
    yield (codecs.BOM_UTF8 if bom else b"") + header.encode()
    cells = ", ',', ".join(csv_cell(c.name, batch.domain_columns[c.name], raw=raw) for c in SHEET_COLUMNS)
    sql = f"SELECT concat({cells}, {quoted_text(_LINE_END)}) FROM {DOMAINS} WHERE {OF_CHUNK} ORDER BY domain_id"

    def ask(chunk: ChunkQueries) -> Sequence[_Row]:
        return chunk.rows(sql)

    def ask_large(domain: LargeDomain) -> Sequence[_Row]:
        return [_large_line(domain, batch.domain_columns, raw=raw)]

    yield from _blocks(text for rows in batch.read(ask, size, ask_large) for row in rows for text in row)


def stream_ndjson(batch: Batch, size: ChunkSize) -> Iterator[bytes]:
    """The batch as NDJSON: one object a line, the line's end included."""
    yield from _blocks(text for row in _objects(batch, size) for text in (*row, "\n"))


def stream_json(batch: Batch, size: ChunkSize) -> Iterator[bytes]:
    """The batch as one JSON array with the objects of `stream_ndjson`."""
    yield from _blocks(_array(_objects(batch, size)))


def _array(rows: Iterable[_Row]) -> Iterator[str]:
    before = "[\n"
    for row in rows:
        yield before
        yield from row
        before = ",\n"
    yield "\n]\n"


def _blocks(texts: Iterable[str]) -> Iterator[bytes]:
    """Texts put together to parts of some size: a chunk as one text would be in memory three times."""
    held: list[str] = []
    characters = 0
    for text in texts:
        held.append(text)
        characters += len(text)
        if characters >= _BLOCK_CHARACTERS:
            yield "".join(held).encode()
            held, characters = [], 0
    if held:
        yield "".join(held).encode()


def _objects(batch: Batch, size: ChunkSize) -> Iterator[_Row]:
    domains = (
        f"SELECT domain_id, concat({_members(batch.domain_columns)}) FROM {DOMAINS} WHERE {OF_CHUNK} ORDER BY domain_id"
    )
    candidate = f"concat('{{', {_members(batch.candidate_columns)}, '}}')"
    candidates = (
        f"SELECT domain_id, {candidate} FROM {CANDIDATES} WHERE {OF_CHUNK} ORDER BY domain_id, {RANK_ORDER_SQL}"
    )

    def ask(chunk: ChunkQueries) -> Sequence[_Row]:
        texts: dict[int, list[str]] = {}
        for number, text in chunk.rows(candidates):
            texts.setdefault(number, []).append(text)
        return [("{", text, _BETWEEN, ",".join(texts.get(number, ())), "]}") for number, text in chunk.rows(domains)]

    def ask_large(domain: LargeDomain) -> Sequence[_Row]:
        return [_large_object(domain, batch, candidate)]

    for rows in batch.read(ask, size, ask_large):
        yield from rows


def _large_object(domain: LargeDomain, batch: Batch, candidate: str) -> Iterator[str]:
    yield "{"
    yield from _large_members(domain, batch.domain_columns)
    before = _BETWEEN
    for found in domain.candidates(candidate, RANK_ORDER_SQL):
        yield before
        if isinstance(found, LargeRow):
            yield "{"
            yield from _large_members(found, batch.candidate_columns)
            yield "}"
        else:
            yield found
        before = ","
    yield _BETWEEN + "]}" if before == _BETWEEN else "]}"


def _large_members(row: LargeRow, columns: Mapping[str, str]) -> Iterator[str]:
    """What `_members` gives, column by column."""
    for number, (name, kind) in enumerate(columns.items()):
        yield f"{',' if number else ''}{json.dumps(name)}:"
        if kind == "VARCHAR" and (pieces := row.texts(name)) is not None:
            yield '"'
            yield from map(json_escaped, pieces)
            yield '"'
        elif kind.endswith("[]") and not row.value(f"{quoted(name)} IS NULL"):
            yield "["
            for place, elements in enumerate(row.json_elements(name)):
                yield f"{',' if place else ''}{elements}"
            yield "]"
        else:
            yield row.value(json_value(name, kind))


def _large_line(row: LargeRow, columns: Mapping[str, str], *, raw: bool) -> Iterator[str]:
    """A line of CSV, column by column."""
    for number, column in enumerate(SHEET_COLUMNS):
        yield "," if number else ""
        kind = columns[column.name]
        if kind == "VARCHAR":
            is_formula = not raw and row.value(f"is_formula({quoted(column.name)})")
            yield "\"'" if is_formula else '"'
            yield from (piece.replace('"', '""') for piece in row.texts(column.name) or ())
            yield '"'
        else:
            yield row.value(csv_cell(column.name, kind, raw=raw))
    yield _LINE_END


def _members(columns: Mapping[str, str]) -> str:
    pairs = ((json.dumps(name), json_value(name, kind)) for name, kind in columns.items())
    return ", ',', ".join(f"{quoted_text(f'{name}:')}, {value}" for name, value in pairs)
