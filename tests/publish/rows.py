"""Hand-written rows that keep the contracts: values with names."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pipelines.contracts.tables import Table, published_tables

TABLES = published_tables(include_full_data=False)
DOMAIN_EXPORTS, CANDIDATE_EXPORTS, REJECTED_ROWS = TABLES[:3]

HOSTILE_TEXTS = (
    "",
    "NULL",
    'Smith; Jones; "Sons"',
    "O'Brien\r\nLtd\t",
    "\u202e\u05d7\u05d1\u05e8\u05d4 \U0001f3e6",
    "a" * 5_000,
)
NAN, INFINITY = float("nan"), float("inf")


def rows_of(table: Table, rows: Sequence[dict[str, Any]]) -> pl.DataFrame:
    """Rows with every column that is not given NULL, or empty where NULL is not allowed."""
    empty: dict[Any, Any] = {pl.String: "", pl.Int32: 0, pl.Int64: 0, pl.Float64: 0.0, pl.Boolean: False, pl.List: []}
    defaults = {
        name: empty[dtype.base_type()] if name in table.required else None
        for name, dtype in table.polars_schema.items()
    }
    return pl.DataFrame([{**defaults, **row} for row in rows], schema=table.polars_schema)


def domain_rows(ids: Sequence[int], **values: Any) -> pl.DataFrame:
    """Rows of domain_exports with distinct values where it matters."""
    return rows_of(
        DOMAIN_EXPORTS,
        [
            {
                "domain_id": i,
                "domain_hash": f"{i:032x}",
                "domain": f"d{i}.example",
                "status": "success",
                "batch_id": f"batch_{i % 3}",
                "company_name": HOSTILE_TEXTS[i % len(HOSTILE_TEXTS)],
                "recommendation": None if i % 2 else "",
                "confidence_score": (NAN, INFINITY, -0.0, 85.3, None)[i % 5],
                "created_at": datetime(2026, 1, 1) + timedelta(microseconds=i),  # noqa: DTZ001 - UTC without zone
                "gleif_candidate_count": i % 3,
                "lei_codes": [f"LEI{i}", "", "b"][: i % 4],
                **values,
            }
            for i in ids
        ],
    )


def candidate_rows(ids: Sequence[int], per_domain: int = 2) -> pl.DataFrame:
    """Rows of candidate_exports: ranks 1, 2, ..., the last NULL."""
    return rows_of(
        CANDIDATE_EXPORTS,
        [
            {
                "candidate_id": i * 10 + rank,
                "domain_id": i,
                "domain_hash": f"{i:032x}",
                "domain": f"d{i}.example",
                "batch_id": f"batch_{i % 3}",
                "lei_code": f"LEI{rank}",
                "legal_name": HOSTILE_TEXTS[(i + rank) % len(HOSTILE_TEXTS)],
                "rank_position": rank if rank < per_domain else None,
                "weighted_score": rank / 3,
            }
            for i in ids
            for rank in range(1, per_domain + 1)
        ],
    )


def rejected_rows(count: int) -> pl.DataFrame:
    """Rows of rejected_rows; the last has no domain_id."""
    return rows_of(
        REJECTED_ROWS,
        [
            {
                "source_table": "gleif_candidates",
                "source_id": 9_000 + i,
                "domain_id": i if i < count - 1 else None,
                "reason": "orphan_candidate",
                "detail": f"domain {i} is not there",
                "row_json": '{"id": 1}',
            }
            for i in range(count)
        ],
    )
