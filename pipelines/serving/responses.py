"""Answers: JSON from a query, with the headers that every answer from a snapshot has."""

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, TypeVar

import anyio
from fastapi import Request
from pydantic import TypeAdapter
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from pipelines.query.batch.batches import shown_id
from pipelines.query.batch.files import short_hash
from pipelines.query.database import Reader
from pipelines.serving.negotiation import Encoding, choose_encoding, compressor_of
from pipelines.serving.service import Service
from pipelines.snapshots.opening import Snapshot

_Result = TypeVar("_Result")
_LOG = logging.getLogger(__name__)
SNAPSHOT_ID = "Snapshot-Id"
_SMALL = 1024  # not worth compressing
_BLOCK = 1 << 16


def service_of(request: Request) -> Service:
    """The service of the app that got the request."""
    service: Service = request.app.state.service
    return service


def list_header(headers: Headers, name: str) -> str:
    """A header that is a list, which may stand on several lines (RFC 9110, 5.3); empty where there is none."""
    return ", ".join(headers.getlist(name))


def snapshot_headers(snapshot: Snapshot, variant: str, encoding: Encoding | None) -> dict[str, str]:
    """Headers that say from which snapshot an answer is, and how it may be kept.

    Args:
        variant: What tells answers of one URL apart, besides the encoding; may be empty.
    """
    headers = {
        SNAPSHOT_ID: snapshot.manifest.id,
        "ETag": f'"{_tag(snapshot, variant)}{f"-{encoding}" if encoding else ""}"',
        # Kept by the client alone (an answer may have needed a token), and asked for again each time: 304 is cheap.
        "Cache-Control": "private, no-cache",
        "Vary": "Accept-Encoding",
    }
    return {**headers, "Content-Encoding": encoding} if encoding else headers


def is_known(if_none_match: str, snapshot: Snapshot, variant: str) -> bool:
    """Whether a client has the answer already, in whatever encoding, by its If-None-Match (`*` aside)."""
    tag = _tag(snapshot, variant)
    return not _parts(if_none_match).isdisjoint({f'"{tag}"', f'"{tag}-gzip"', f'"{tag}-zstd"'})


def is_any_known(if_none_match: str) -> bool:
    """Whether If-None-Match is `*`: a client has the answer already, if there is one at all (RFC 9110, 13.1.2)."""
    return "*" in _parts(if_none_match)


def _parts(if_none_match: str) -> set[str]:
    return {part.strip().removeprefix("W/") for part in if_none_match.split(",")}


def not_modified(headers: dict[str, str]) -> Response:
    """The answer to a client that has it already."""
    kept = {name: value for name, value in headers.items() if name != "Content-Encoding"}
    return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=kept)


def is_head(scope: Scope) -> bool:
    """Whether only the headers are wanted."""
    return bool(scope.get("lei_exports.head"))


class Answer(Response):
    """An answer in memory: counted while it is sent, and broken off where its client takes nothing for too long."""

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        """Send it.

        Raises:
            ProblemError: Too much is being sent; nothing of it was then.
        """
        service = service_of(Request(scope))
        async with service.sending.hold(len(self.body)):
            try:
                await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
                # In parts: with one the server has it all to send at once, and nobody waits until it is gone.
                for begin in range(0, len(self.body) or 1, _BLOCK):
                    part, is_last = self.body[begin : begin + _BLOCK], begin + _BLOCK >= len(self.body)
                    with anyio.fail_after(service.settings.api_stall_seconds):
                        await send({"type": "http.response.body", "body": part, "more_body": not is_last})
            except TimeoutError:
                # Left unfinished: the connection is closed.
                _LOG.warning("Cut off: the client of %s reads too slowly", shown_id(scope["path"]))


async def answer(request: Request, shape: TypeAdapter[_Result], work: Callable[[Reader], Any]) -> Response:
    """Answer a request with the result of a query, as JSON.

    Args:
        shape: What the answer looks like; it is checked to be so.
        work: The query; what is not there it raises (`problems.not_found`).
    """

    def serialize(reader: Reader) -> bytes:
        return shape.dump_json(shape.validate_python(work(reader)))

    return await answer_bytes(request, serialize)


async def answer_bytes(request: Request, work: Callable[[Reader], bytes]) -> Response:
    """Answer a request with JSON that is serialized already.

    Args:
        work: What makes the answer; what is not there it raises (`problems.not_found`).
    """
    service, if_none_match = service_of(request), list_header(request.headers, "if-none-match")
    # Part of the tag: else the tag of one URL would be a 304 of another one that has no answer.
    variant = short_hash(f"{request.scope['path']}?{request.scope['query_string'].decode('latin-1')}")
    async with service.lease() as opened:
        encoding = choose_encoding(list_header(request.headers, "accept-encoding"))
        if is_known(if_none_match, opened.snapshot, variant):
            return not_modified(snapshot_headers(opened.snapshot, variant, encoding))
        content, used = await service.query(opened, lambda reader: _compressed(work(reader), encoding))
    headers = snapshot_headers(opened.snapshot, variant, used)
    if is_any_known(if_none_match):  # there is an answer: what is not there was raised
        return not_modified(headers)
    return Answer(content, headers=headers, media_type="application/json")


def next_page(request: Request, limit: int, offset: int, last_offset: int, *, has_more: bool) -> str | None:
    """The address of the next page, relative to that of the request: a proxy may have put it below a path of its own.

    Args:
        last_offset: The largest offset that is taken; behind it there is no next page.
    """
    if not has_more or offset + limit > last_offset:
        return None
    return f"?{request.url.include_query_params(limit=limit, offset=offset + limit).query}"


def _compressed(content: bytes, encoding: Encoding | None) -> tuple[bytes, Encoding | None]:
    if encoding is None or len(content) < _SMALL:
        return content, None
    compressor = compressor_of(encoding)
    return compressor.compress(content) + compressor.flush(), encoding


def _tag(snapshot: Snapshot, variant: str) -> str:
    return f"{snapshot.manifest.id}.{variant}" if variant else snapshot.manifest.id
