"""The questions that a server answers from one snapshot: a batch, a domain, its candidates, an LEI, a search.

Times come as text (ISO 8601, milliseconds, Z), reals as they are in the file.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any, NamedTuple

import polars as pl

from pipelines.contracts.orders import RANK_ORDER, rank_key
from pipelines.contracts.tables import BATCH_SUMMARIES, DOMAIN_EXPORTS, ENTITIES, UNIQUE_DOMAINS, candidate_exports
from pipelines.contracts.vocabularies import WHITE_SPACE
from pipelines.query.batch.expressions import json_escaped, real_text
from pipelines.query.bounded import DATABASE
from pipelines.query.database import Reader
from pipelines.snapshots.duckdb_connections import quoted

Row = dict[str, Any]

CANDIDATE_EXPORTS = candidate_exports(include_full_data=True)
# Ids can be as long as the source's texts: the distance of longer ones is that of their beginnings.
_COMPARED_CHARACTERS = 64
_CLOSEST = 3
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  UTC, as all published times are
# How a value is spelled in JSON, by its DuckDB type; integers as Python does.
_SPELLINGS: dict[str, Callable[[Any], str]] = {
    "VARCHAR": lambda text: f'"{json_escaped(text)}"',
    "FLOAT": real_text,
    "BOOLEAN": lambda value: "true" if value else "false",
}
SEARCH_COLUMNS = (
    "domain_id", "domain", "batch_id", "status", "company_name", "confidence_score", "guessed_country",
    "primary_lei_code", "primary_gleif_name", "gleif_candidate_count", "processed_at",
)  # fmt: skip


class BatchOrder(StrEnum):
    """Columns of batch_summaries that batches can be sorted by."""

    BATCH_ID = "batch_id"
    FIRST_CREATED_AT = "first_created_at"
    LAST_PROCESSED_AT = "last_processed_at"
    RESULT_COUNT = "result_count"
    CANDIDATE_COUNT = "candidate_count"
    SUCCESS_PCT = "success_pct"


class Page(NamedTuple):
    """Which rows of many: at most `limit`, after the first `offset`."""

    limit: int
    offset: int


def relation_of(table: str) -> str:
    """A table of the attached file, in SQL."""
    return f"{DATABASE}.main.{quoted(table)}"


def find_batch(reader: Reader, batch_id: str) -> Row | None:
    """The row of batch_summaries of a batch."""
    return _find(reader, BATCH_SUMMARIES.name, "batch_id", batch_id)


def closest_batch_ids(reader: Reader, batch_id: str) -> list[str]:
    """Ids of batches that are spelled most like this one."""
    rows = reader.rows(
        f"SELECT batch_id FROM {relation_of(BATCH_SUMMARIES.name)} ORDER BY damerau_levenshtein("
        f"lower(left(batch_id, {_COMPARED_CHARACTERS})), lower(left($wanted, {_COMPARED_CHARACTERS}))), batch_id"
        f" LIMIT {_CLOSEST}",
        {"wanted": batch_id},
    )
    return [row[0] for row in rows]


def list_batches(reader: Reader, order: BatchOrder, page: Page, *, is_descending: bool) -> tuple[list[Row], int]:
    """A page of batch_summaries, NULL last, then by id; and how many batches there are."""
    direction = "DESC" if is_descending else "ASC"
    tail = f"ORDER BY {quoted(order)} {direction} NULLS LAST, batch_id LIMIT $limit OFFSET $offset"
    rows = _select(reader, BATCH_SUMMARIES.name, tail, page._asdict())
    return rows, reader.rows(f"SELECT count(*) FROM {relation_of(BATCH_SUMMARIES.name)}", {})[0][0]


def find_candidates_json(reader: Reader, domain_id: int, keys: Mapping[str, str]) -> str | None:
    """Candidates of a row of domain_exports as a JSON array in rank order; None where there is no such row.

    Values are spelled as in a batch as JSON, byte for byte. They are spelled and sorted here, not in SQL: for one row
    the query takes 1.2 ms of the processor, and 6 where DuckDB has to plan a batch's JSON expressions.

    Args:
        keys: The column of each key of the answer; of a column that the snapshot lacks the value is null.
    """
    columns = reader.columns_of(CANDIDATE_EXPORTS.name)
    names = [name for name in dict.fromkeys((*RANK_ORDER, *keys.values())) if name in columns]
    values = ", ".join(f"epoch_us({quoted(n)})" if columns[n] == "TIMESTAMP" else quoted(n) for n in names)
    found = reader.rows(
        f"SELECT {values} FROM {relation_of(CANDIDATE_EXPORTS.name)} WHERE domain_id = $id", {"id": domain_id}
    )
    if not found and not _has_domain(reader, domain_id):
        return None
    spellings: dict[str, Callable[[Any], str]] = {**_SPELLINGS, "TIMESTAMP": partial(_time_text, reader)}
    spell = [spellings.get(columns[name], str) for name in names]
    # Each value is spelled once, however many keys it has. A column that is not there is behind the last one.
    place = {name: number for number, name in enumerate(names)}
    members = [(f'"{key}":', place.get(name, len(names))) for key, name in keys.items()]
    objects = []
    for row in sorted(found, key=lambda row: rank_key(row[0], row[1])):
        texts = ["null" if cell is None else to_text(cell) for cell, to_text in zip(row, spell, strict=True)]
        texts.append("null")
        objects.append(f"{{{','.join([key + texts[at] for key, at in members])}}}")
    return f"[{','.join(objects)}]"


def find_domain(reader: Reader, name: str) -> Row | None:
    """The row of unique_domains of a domain, by any spelling that the application takes for the same."""
    return _find(reader, UNIQUE_DOMAINS.name, "domain_hash", domain_hash_of(name))


def list_domain_rows(reader: Reader, domain_hash: str, page: Page) -> list[Row]:
    """A domain's rows of domain_exports, one a batch as a rule, by id."""
    # First which ones: to find the first of rows DuckDB needs 2 MB with their ids alone, and 32 with all columns.
    query = f"SELECT domain_id FROM {relation_of(DOMAIN_EXPORTS.name)} WHERE domain_hash = $hash ORDER BY domain_id"
    ids = reader.rows(f"{query} LIMIT $limit OFFSET $offset", {"hash": domain_hash, **page._asdict()})
    if not ids:
        return []
    tail = "WHERE domain_hash = $hash AND domain_id BETWEEN $first AND $last ORDER BY domain_id"
    parameters = {"hash": domain_hash, "first": ids[0][0], "last": ids[-1][0]}
    return _select(reader, DOMAIN_EXPORTS.name, tail, parameters)


def find_entity(reader: Reader, lei_code: str) -> Row | None:
    """The row of entities of an LEI, byte for byte."""
    return _find(reader, ENTITIES.name, "lei_code", lei_code)


def search_domains(reader: Reader, text: str, page: Page) -> tuple[list[Row], bool]:
    """Rows of domain_exports with a text in their domain or company name, whatever its case; no character is special.

    Returns:
        The rows, the whole domain first, then domains that begin with it, then by id; and whether there are more.
    """
    tail = (
        "WHERE contains(lower(domain), lower($text)) OR contains(lower(company_name), lower($text))"
        " ORDER BY lower(domain) = lower($text) DESC, starts_with(lower(domain), lower($text)) DESC, domain_id"
        " LIMIT $limit OFFSET $offset"
    )
    parameters = {"text": text, "limit": page.limit + 1, "offset": page.offset}
    rows = _select(reader, DOMAIN_EXPORTS.name, tail, parameters, SEARCH_COLUMNS)
    return rows[: page.limit], len(rows) > page.limit


def domain_hash_of(name: str) -> str:
    """md5 of a domain's normalized name (DESIGN 4), by the engine that computed the published ones."""
    normalized = pl.Series([name], dtype=pl.String).str.strip_chars(WHITE_SPACE).str.to_lowercase()[0]
    return hashlib.md5(normalized.encode(), usedforsecurity=False).hexdigest()


def _has_domain(reader: Reader, domain_id: int) -> bool:
    query = f"SELECT 1 FROM {relation_of(DOMAIN_EXPORTS.name)} WHERE domain_id = $id"
    return bool(reader.rows(query, {"id": domain_id}))


def _time_text(reader: Reader, microseconds: int) -> str:
    try:
        return f'"{(_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec="milliseconds")}Z"'
    except OverflowError:  # Python's own times are of the years 1 to 9999, PostgreSQL's are not
        query = "SELECT time_text(make_timestamp($microseconds))"
        return f'"{reader.rows(query, {"microseconds": microseconds})[0][0]}"'


def _find(reader: Reader, table: str, key: str, value: str) -> Row | None:
    rows = _select(reader, table, f"WHERE {quoted(key)} = $value", {"value": value})
    return rows[0] if rows else None


def _select(
    reader: Reader, table: str, tail: str, parameters: Mapping[str, object], names: Sequence[str] | None = None
) -> list[Row]:
    columns = reader.columns_of(table)
    names = [name for name in names or columns if name in columns]
    # As text: Python's own times end with the year 9999, PostgreSQL's do not.
    values = ", ".join(f"time_text({quoted(n)})" if columns[n] == "TIMESTAMP" else quoted(n) for n in names)
    found = reader.rows(f"SELECT {values} FROM {relation_of(table)} {tail}", parameters)
    return [dict(zip(names, row, strict=True)) for row in found]
