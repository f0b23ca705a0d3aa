"""The addresses of the API, what each takes and what it answers."""

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import TypeAdapter
from starlette.convertors import Convertor, register_url_convertor
from starlette.responses import Response

from pipelines.query import queries
from pipelines.query.batch.batches import shown_id
from pipelines.query.batch.files import BatchFormat
from pipelines.query.database import Reader
from pipelines.serving.documentation import from_snapshot, problems
from pipelines.serving.export_response import ExportResponse, require_batch
from pipelines.serving.models import (
    CANDIDATE_KEYS,
    Batch,
    BatchPage,
    Candidate,
    CheckSummary,
    Domain,
    Entity,
    ExportedDomain,
    Health,
    Readiness,
    SearchPage,
)
from pipelines.serving.negotiation import choose_format, media_type_of
from pipelines.serving.problems import not_found
from pipelines.serving.responses import SNAPSHOT_ID, answer, answer_bytes, list_header, next_page, service_of
from pipelines.snapshots.opening import Snapshot

ID_MIN, ID_MAX = -(2**63), 2**63 - 1
_MAX_PAGE, _MAX_SEARCH, _LAST_OFFSET, _LAST_HIT = 1_000, 100, 1_000_000, 10_000
_MAX_TEXT = 200
_MAX_NAME = 2_000


class _Text(Convertor[str]):
    """A path parameter that may hold anything, `/` and line ends too (Starlette's own `path` ends at a line end)."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _Text())
router = APIRouter()
_batch, _batches = TypeAdapter(Batch), TypeAdapter(BatchPage)
_domain, _entity, _search = TypeAdapter(Domain), TypeAdapter(Entity), TypeAdapter(SearchPage)

Limit = Annotated[int, Query(ge=1, le=_MAX_PAGE, description="Most items of the answer")]
Offset = Annotated[int, Query(ge=0, le=_LAST_OFFSET, description="Items to leave out before the first")]
# Of what the file of each format consists.
_FILE_SCHEMAS: dict[BatchFormat, dict[str, Any]] = {
    BatchFormat.JSON: {"type": "array", "items": {"$ref": f"#/components/schemas/{ExportedDomain.__name__}"}},
    BatchFormat.CSV: {"type": "string"},
    BatchFormat.NDJSON: {"type": "string"},
    BatchFormat.XLSX: {"type": "string", "format": "binary"},
    BatchFormat.PARQUET: {"type": "string", "format": "binary"},
}
_DESCRIBED = "The batch as a file, with the columns and rows that `lei-exports batch` writes"
_BatchId = Annotated[str, Path(description="Id of the batch; `/` may stand in it as it is or encoded")]


# Text first: generated clients read every answer as the first one, and only as text each can be read.
_ANY_FILE = {media_type_of(one): {"schema": _FILE_SCHEMAS[one]} for one in (BatchFormat.CSV, *BatchFormat)}


@router.get(
    "/export/{batch_id:text}",
    response_class=Response,
    responses={200: {"description": _DESCRIBED, "content": _ANY_FILE}, **from_snapshot(404, 406)},
    tags=["batches"],
    summary="A batch with all its candidates, as a file in a format that the request chooses",
)
async def export_batch(
    request: Request,
    batch_id: _BatchId,
    batch_format: Annotated[
        BatchFormat | None, Query(alias="format", description="Format of the file; left out: what Accept prefers")
    ] = None,
) -> Response:
    """Stream a batch, as `/files/…` does: there each format has an address of its own, for generated clients."""
    if batch_format is not None:
        return ExportResponse(batch_id, batch_format)
    return ExportResponse(batch_id, choose_format(list_header(request.headers, "accept")), varies_by="Accept, ")


def _add_file_route(batch_format: BatchFormat) -> None:

    async def get_file(batch_id: _BatchId) -> Response:
        """Stream a batch; memory does not grow with it. Every row is of one snapshot."""
        return ExportResponse(batch_id, batch_format)

    content = {media_type_of(batch_format): {"schema": _FILE_SCHEMAS[batch_format]}}
    router.add_api_route(
        f"/files/{batch_format}/{{batch_id:text}}",
        get_file,
        name=f"get_batch_as_{batch_format}",
        response_class=Response,
        responses={200: {"description": _DESCRIBED, "content": content}, **from_snapshot(404)},
        tags=["batches"],
        summary=f"A batch with all its candidates, as {batch_format.upper()}",
    )


for _format in BatchFormat:
    _add_file_route(_format)


@router.get("/batches", response_model=BatchPage, responses=from_snapshot(), tags=["batches"], summary="All batches")
async def list_batches(
    request: Request,
    sort: Annotated[queries.BatchOrder, Query(description="Column to sort by")] = queries.BatchOrder.BATCH_ID,
    *,
    descending: Annotated[bool, Query(description="Largest first; what has no value stays last")] = False,
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """List batches with their counts, a page at a time."""

    def work(reader: Reader) -> dict[str, Any]:
        rows, total = queries.list_batches(reader, sort, queries.Page(limit, offset), is_descending=descending)
        following = next_page(request, limit, offset, _LAST_OFFSET, has_more=offset + limit < total)
        return {"total": total, "limit": limit, "offset": offset, "next": following, "items": rows}

    return await answer(request, _batches, work)


@router.get(
    "/batches/{batch_id:text}", response_model=Batch, responses=from_snapshot(404), tags=["batches"], summary="A batch"
)
async def get_batch(
    request: Request, batch_id: Annotated[str, Path(description="Id of the batch; `/` may stand in it")]
) -> Response:
    """Show a batch's counts, percentages and times."""
    return await answer(request, _batch, lambda reader: require_batch(reader, batch_id))


@router.get(
    "/domains/{domain_id}/candidates",
    response_model=list[Candidate],  # type: ignore[valid-type]
    responses=from_snapshot(404),
    tags=["domains"],
    summary="Candidates of a row of `domains`",
)
async def list_candidates(
    request: Request,
    domain_id: Annotated[int, Path(ge=ID_MIN, le=ID_MAX, description="Id of the row of `domains`")],
) -> Response:
    """List candidates in rank order; `[]` where the row has none."""

    def work(reader: Reader) -> bytes:
        found = queries.find_candidates_json(reader, domain_id, CANDIDATE_KEYS)
        if found is None:
            raise not_found("domain", f"Snapshot {reader.snapshot.manifest.id} has no row {domain_id} of domains.")
        return found.encode()

    return await answer_bytes(request, work)


@router.get(
    "/domains",
    response_model=Domain,
    responses=from_snapshot(404),
    tags=["domains"],
    summary="A domain across all batches",
)
async def get_domain(
    request: Request,
    name: Annotated[str, Query(min_length=1, max_length=_MAX_NAME, description="The domain, in any case")],
    limit: Limit = 100,
    offset: Offset = 0,
) -> Response:
    """Show a domain with its history: its rows of all batches. White space around it and its case do not matter."""

    def work(reader: Reader) -> queries.Row:
        row = queries.find_domain(reader, name)
        if row is None:
            raise not_found("domain", f"Snapshot {reader.snapshot.manifest.id} has no domain {shown_id(name)}.")
        history = queries.list_domain_rows(reader, row["domain_hash"], queries.Page(limit, offset))
        following = next_page(request, limit, offset, _LAST_OFFSET, has_more=offset + limit < row["result_count"])
        return {**row, "history": history, "next": following}

    return await answer(request, _domain, work)


@router.get(
    "/entities/{lei_code:text}",
    response_model=Entity,
    responses=from_snapshot(404),
    tags=["entities"],
    summary="A legal entity",
)
async def get_entity(
    request: Request, lei_code: Annotated[str, Path(description="LEI code, byte for byte; valid or not")]
) -> Response:
    """Show a legal entity with the domains that it is a candidate of."""

    def work(reader: Reader) -> queries.Row:
        row = queries.find_entity(reader, lei_code)
        if row is None:
            raise not_found("entity", f"Snapshot {reader.snapshot.manifest.id} has no LEI {shown_id(lei_code)}.")
        return row

    return await answer(request, _entity, work)


@router.get("/search", response_model=SearchPage, responses=from_snapshot(), tags=["domains"], summary="Search")
async def search_domains(
    request: Request,
    q: Annotated[str, Query(min_length=2, max_length=_MAX_TEXT, description="Part of a domain or company name")],
    limit: Annotated[int, Query(ge=1, le=_MAX_SEARCH, description="Most items of the answer")] = 20,
    offset: Annotated[int, Query(ge=0, le=_LAST_HIT, description="Items to leave out before the first")] = 0,
) -> Response:
    """Find rows of `domains` by a part of their domain or company name, in any case. No character is special."""

    def work(reader: Reader) -> dict[str, Any]:
        rows, has_more = queries.search_domains(reader, q, queries.Page(limit, offset))
        following = next_page(request, limit, offset, _LAST_HIT, has_more=has_more)
        return {"has_more": has_more, "limit": limit, "offset": offset, "next": following, "items": rows}

    return await answer(request, _search, work)


@router.get("/health", tags=["server"], summary="The server runs")
async def get_health() -> Health:
    """Say that the server runs; needs no token."""
    return Health()


@router.get("/ready", responses=problems(), tags=["server"], summary="There is a snapshot to answer from")
async def get_readiness(request: Request, response: Response) -> Readiness:
    """Say which snapshot is served, how old it is, and what its checks said."""
    service = service_of(request)
    async with service.lease() as opened:
        response.headers[SNAPSHOT_ID] = opened.snapshot.manifest.id
        return _readiness(opened.snapshot, is_current=service.pool.error is None)


def _readiness(snapshot: Snapshot, *, is_current: bool) -> Readiness:
    manifest = snapshot.manifest
    checks = [*manifest.checks, *(check for table in manifest.tables for check in table.checks)]
    return Readiness(
        snapshot_id=manifest.id,
        sequence=manifest.sequence,
        contract_version=manifest.contract_version,
        created_at=manifest.created_at,
        source_at=manifest.source.snapshot_at,
        age_seconds=round(max(0.0, (datetime.now(UTC) - manifest.source.snapshot_at).total_seconds()), 3),
        is_current=is_current,
        rows={table.name: table.rows for table in manifest.tables},
        checks=CheckSummary(
            total=len(checks),
            passed=sum(check.passed for check in checks),
            warnings=[f"{check.table}.{check.name}" for check in checks if not check.passed],
        ),
    )
