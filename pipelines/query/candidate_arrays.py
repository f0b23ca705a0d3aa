"""Candidates of neighbouring rows of domain_exports as JSON arrays, put together from what DuckDB writes of each."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from sys import getsizeof
from typing import Any

import duckdb

_STEP = 64


class TooManyError(Exception):
    """The arrays take more than they may."""


@dataclass(frozen=True)
class ArrayQueries:
    """SQL with `$first_id` and `$last_id`.

    Attributes:
        domains: Ids of the rows of domain_exports, in order.
        candidates: Domain id and JSON object of each candidate, by domain and rank.
    """

    domains: str
    candidates: str


def read_arrays(
    session: duckdb.DuckDBPyConnection, queries: ArrayQueries, first_id: int, last_id: int, most_bytes: int
) -> Iterator[tuple[int, str]]:
    """The arrays of some rows.

    Args:
        session: Where the file is open.
        queries: What to ask.
        first_id: Least id of a row.
        last_id: Greatest id of a row.
        most_bytes: What they may take.

    Yields:
        Ids, ascending, and the array of each in rank order; `[]` where a row has no candidates.

    Raises:
        TooManyError: They take more.
        duckdb.Error: The file can't be read, or memory does not suffice.
    """
    parameters = {"first_id": first_id, "last_id": last_id}
    cursor = session.execute(queries.candidates, parameters)
    texts: dict[int, list[str]] = {}
    size = 0
    while rows := cursor.fetchmany(_STEP):
        size += sum(getsizeof(text) for _, text in rows)
        if size > most_bytes:
            raise TooManyError
        for domain_id, text in rows:
            texts.setdefault(domain_id, []).append(text)
    for (domain_id,) in session.execute(queries.domains, parameters).fetchall():
        yield domain_id, f"[{','.join(texts.pop(domain_id, ()))}]"


def texts_by_domain(rows: Iterable[Sequence[Any]]) -> dict[int, list[str]]:
    """Texts of candidates by domain id, in the order of the rows.

    Args:
        rows: Domain id and text of each candidate.
    """
    texts: dict[int, list[str]] = {}
    for domain_id, text in rows:
        texts.setdefault(domain_id, []).append(text)
    return texts
