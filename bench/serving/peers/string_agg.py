"""FastAPI and `string_agg`: PostgreSQL joins the candidates' texts, the answer is a JSON response of plain rows.

PG* variables say where the database is.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from fastapi.responses import Response
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool
from pydantic_core import to_json

pool = AsyncConnectionPool(
    "", min_size=2, max_size=10, open=False, kwargs={"row_factory": dict_row, "autocommit": True}
)
ORDER = "ORDER BY c.rank_position NULLS LAST, c.id"
EXPORT = f"""
SELECT d.*, count(c.id) AS gleif_candidate_count,
       string_agg(c.lei_code, '; ' {ORDER}) AS all_lei_codes,
       string_agg(c.legal_name, '; ' {ORDER}) AS all_legal_names,
       string_agg(c.jurisdiction, '; ' {ORDER}) AS all_jurisdictions,
       string_agg(c.entity_status, '; ' {ORDER}) AS all_entity_statuses
FROM domains AS d LEFT JOIN gleif_candidates AS c ON c.domain_id = d.id
WHERE d.batch_id = %s GROUP BY d.id ORDER BY d.id
"""
CANDIDATES = """
SELECT id, domain_id, lei_code, legal_name, entity_status, jurisdiction, legal_form, entity_category,
       registration_status, gleif_match_score, weighted_score, rank_position, domain_tld_score, fortune500_score,
       name_match_score, entity_complexity_score, match_method, selection_reason, is_primary_selection, created_at
FROM gleif_candidates WHERE domain_id = %s ORDER BY rank_position NULLS LAST, id
"""


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open the pool."""
    async with pool:
        yield


app = FastAPI(lifespan=lifespan)


async def answer(query: str, value: int | str) -> Response:
    """Rows of a query as JSON, without a model: the fastest that FastAPI answers."""
    connection: AsyncConnection[dict[str, Any]]
    async with pool.connection() as connection:
        rows = await (await connection.execute(query, (value,))).fetchall()
    return Response(to_json(rows), media_type="application/json")


@app.get("/export/{batch_id}")
async def export_batch(batch_id: str) -> Response:
    """A batch, its candidates as joined texts."""
    return await answer(EXPORT, batch_id)


@app.get("/domains/{domain_id}/candidates")
async def list_candidates(domain_id: int) -> Response:
    """One domain's candidates in rank order."""
    return await answer(CANDIDATES, domain_id)


@app.get("/health")
async def health() -> dict[str, str]:
    """It runs."""
    return {"status": "ok"}
