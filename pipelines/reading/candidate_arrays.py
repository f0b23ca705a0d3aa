"""Candidates of neighbouring rows of domain_exports as JSON arrays, put together from what DuckDB writes of each.

Belongs here: asking, and putting together. Does not: the SQL of a value (queries.py makes it), or anything that needs
contracts or Polars (the process that reads candidates ahead imports this module and must stay small).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


class Session(Protocol):
    """What queries are asked of: a connection of DuckDB, or a reader."""

    def execute(self, sql: str, parameters: object) -> Any:  # noqa: ANN401  DuckDB's cursor, which has no common type
        """Run a query; its rows are fetched from what comes back."""


@dataclass(frozen=True)
class ArrayQueries:
    """SQL with `$first_id` and `$last_id`.

    Attributes:
        domains: Ids of the rows of domain_exports, in order.
        candidates: Domain id and JSON object of each candidate, by domain and rank.
    """

    domains: str
    candidates: str


def read_arrays(session: Session, queries: ArrayQueries, first_id: int, last_id: int) -> tuple[list[int], list[str]]:
    """The arrays of some rows.

    Args:
        session: Where the file is open.
        queries: What to ask.
        first_id: Least id of a row.
        last_id: Greatest id of a row.

    Returns:
        Ids, ascending, and the array of each in rank order; `[]` where a row has no candidates.

    Raises:
        duckdb.Error: The file can't be read, or memory does not suffice.
    """
    parameters = {"first_id": first_id, "last_id": last_id}
    texts = texts_by_domain(session.execute(queries.candidates, parameters).fetchall())
    ids = [row[0] for row in session.execute(queries.domains, parameters).fetchall()]
    return ids, [f"[{','.join(texts.get(domain_id, ()))}]" for domain_id in ids]


def texts_by_domain(rows: Iterable[Sequence[Any]]) -> dict[int, list[str]]:
    """Texts of candidates by domain id, in the order of the rows.

    Args:
        rows: Domain id and text of each candidate.
    """
    texts: dict[int, list[str]] = {}
    for domain_id, text in rows:
        texts.setdefault(domain_id, []).append(text)
    return texts
