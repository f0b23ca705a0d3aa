"""The ten questions of docs/analysts.md: as they stand there, and in PostgreSQL's SQL over the source tables.

The questions name an LEI and a batch of the sample; on other data they are asked of one that is there.
"""

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg

_ROOT = Path(__file__).resolve().parents[1]
_QUESTION = re.compile(r"^### (\d+)\. (.*?)\n.*?^```sql\n(.*?);\n```", re.MULTILINE | re.DOTALL)
_LEI, _BATCH = "54930043XZGB27CTOV49", "hQ2vYc8JrEo5uXfZ1nGtA"


@dataclass(frozen=True)
class Question:
    """A question.

    Attributes:
        exported: Its first query in the document, for exports.duckdb.
        source: The same in PostgreSQL's SQL, over `domains` and `gleif_candidates`.
    """

    number: int
    title: str
    exported: str
    source: str


def questions(lei: str = _LEI, batch: str = _BATCH) -> list[Question]:
    """The ten questions, asked of an LEI and of a batch."""
    text = (_ROOT / "docs" / "analysts.md").read_text(encoding="utf-8")

    def about(query: str) -> str:
        return query.replace(_LEI, lei).replace(_BATCH, batch)

    return [
        Question(
            int(number),
            title,
            about(query),
            about((_ROOT / "bench" / "queries" / f"{int(number):02}.sql").read_text(encoding="utf-8")),
        )
        for number, title, query in _QUESTION.findall(text)
    ]


def subjects(connection: psycopg.Connection[Any]) -> tuple[str, str]:
    """An LEI and a batch that are there: those of the row in the middle of `domains`.

    Raises:
        LookupError: No row of `domains` has a primary LEI.
    """
    row = connection.execute(
        "SELECT primary_lei_code, batch_id FROM domains WHERE primary_lei_code IS NOT NULL"
        " AND id >= (SELECT max(id) / 2 FROM domains) ORDER BY id LIMIT 1"
    ).fetchone()
    if row is None:
        raise LookupError("no row of domains has a primary LEI")
    return row


def comparable(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Rows of an answer with numbers of one kind, so that both databases' answers can be compared."""
    return [tuple(_plain(value) for value in row) for row in rows]


def _plain(value: Any) -> Any:  # noqa: ANN401  a cell of any type
    return (
        float(f"{value:.6g}") if isinstance(value, float | Decimal) else value
    )  # float4: one says 85.3, one 85.30000305
