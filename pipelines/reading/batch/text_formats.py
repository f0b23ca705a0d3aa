"""A batch as CSV, JSON or NDJSON: bytes, a chunk of rows at a time, put together by DuckDB.

Belongs here: what a row and a file of these formats look like. Does not: how a value is spelled (expressions.py).
"""

import codecs
import json
from collections.abc import Iterable, Iterator, Mapping

from pipelines.contracts.orders import RANK_ORDER_SQL
from pipelines.reading.batch.batches import CANDIDATES, DOMAINS, Batch, ChunkQueries, ChunkSize
from pipelines.reading.batch.columns import SHEET_COLUMNS
from pipelines.reading.batch.expressions import csv_cell, json_value
from pipelines.reading.candidate_arrays import texts_by_domain
from pipelines.reading.sessions import quoted_text

_LINE_END = "\r\n"
_BLOCK_CHARACTERS = 1 << 18
OF_CHUNK = "batch_id = $batch_id AND domain_id BETWEEN $first_id AND $last_id"


def stream_csv(batch: Batch, size: ChunkSize, *, raw: bool, bom: bool) -> Iterator[bytes]:
    """The batch as CSV (RFC 4180): every cell quoted, lines end with CR LF.

    Args:
        batch: The open batch.
        size: How much is in memory at a time.
        raw: Leave texts alone that a spreadsheet would run as a formula.
        bom: Begin with the mark by which Excel knows UTF-8.

    Yields:
        The header line, then rows.
    """
    header = ",".join(f'"{column.header}"' for column in SHEET_COLUMNS) + _LINE_END
    yield (codecs.BOM_UTF8 if bom else b"") + header.encode()
    cells = ", ',', ".join(csv_cell(c.name, batch.domain_columns[c.name], raw=raw) for c in SHEET_COLUMNS)
    sql = f"SELECT concat({cells}, {quoted_text(_LINE_END)}) FROM {DOMAINS} WHERE {OF_CHUNK} ORDER BY domain_id"
    yield from _blocks(row[0] for rows in batch.read(lambda chunk: chunk.rows(sql), size) for row in rows)


def stream_ndjson(batch: Batch, size: ChunkSize) -> Iterator[bytes]:
    """The batch as NDJSON: one object a line, the line's end included."""
    yield from _blocks(f"{text}\n" for text in _objects(batch, size))


def stream_json(batch: Batch, size: ChunkSize) -> Iterator[bytes]:
    """The batch as one JSON array with the objects of `stream_ndjson`."""
    objects = _objects(batch, size)
    yield f"[\n{next(objects, '')}".encode()
    yield from _blocks(f",\n{text}" for text in objects)
    yield b"\n]\n"


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


def _objects(batch: Batch, size: ChunkSize) -> Iterator[str]:
    domains = (
        f"SELECT domain_id, concat({_members(batch.domain_columns)}) FROM {DOMAINS} WHERE {OF_CHUNK} ORDER BY domain_id"
    )
    candidates = (
        f"SELECT domain_id, concat('{{', {_members(batch.candidate_columns)}, '}}') FROM {CANDIDATES} WHERE {OF_CHUNK}"
        f" ORDER BY domain_id, {RANK_ORDER_SQL}"
    )

    def ask(chunk: ChunkQueries) -> list[tuple[str, list[str]]]:
        texts = texts_by_domain(chunk.rows(candidates))
        return [(text, texts.get(number, [])) for number, text in chunk.rows(domains)]

    for rows in batch.read(ask, size):
        for members, texts in rows:
            yield f'{{{members},"candidates":[{",".join(texts)}]}}'


def _members(columns: Mapping[str, str]) -> str:
    pairs = ((json.dumps(name), json_value(name, kind)) for name, kind in columns.items())
    return ", ',', ".join(f"{quoted_text(f'{name}:')}, {value}" for name, value in pairs)
