"""A batch as a response: streamed as it is read, at the pace of the client, stopped when the client hangs up."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from http import HTTPStatus
from urllib.parse import quote

import anyio
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from pipelines.errors import ExportError
from pipelines.query.batch.batches import shown_id
from pipelines.query.batch.files import BatchFormat, file_name, short_hash
from pipelines.query.database import Reader
from pipelines.query.queries import Row, closest_batch_ids, find_batch
from pipelines.serving.export_sources import CacheWriter, KeptSource, SnapshotSource
from pipelines.serving.negotiation import MEDIA_TYPES, Encoding, choose_encoding
from pipelines.serving.problems import not_found
from pipelines.serving.responses import (
    is_any_known,
    is_head,
    is_known,
    list_header,
    not_modified,
    service_of,
    snapshot_headers,
)
from pipelines.serving.service import Service
from pipelines.serving.snapshot_pool import OpenSnapshot

_LOG = logging.getLogger(__name__)
# Handed to the socket at a time: a slow reader is noticed by one of these not going through.
_BLOCK = 1 << 18
_NAME_CHARACTERS = 80


_Source = KeptSource | SnapshotSource


class ExportResponse(Response):
    """A batch as a file."""

    def __init__(self, batch_id: str, batch_format: BatchFormat, varies_by: str = "") -> None:
        super().__init__()
        self._varies_by = varies_by
        self._batch_id = batch_id
        self._format = batch_format

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it.

        Raises:
            ProblemError: There is no such batch, or no turn for it; nothing was sent then.
            BatchFileError: It does not fit the format; nothing was sent then.
        """
        service, asked = service_of(Request(scope)), Headers(scope=scope)
        async with service.lease() as opened:
            await service.query(opened, partial(require_batch, batch_id=self._batch_id))
            encoding = choose_encoding(list_header(asked, "accept-encoding")) if self._format.is_text else None
            variant = f"{self._format}-{short_hash(self._batch_id)}"
            headers = snapshot_headers(opened.snapshot, variant, encoding)
            headers["Vary"] = f"{self._varies_by}{headers['Vary']}"
            if_none_match = list_header(asked, "if-none-match")
            if is_any_known(if_none_match) or is_known(if_none_match, opened.snapshot, variant):
                await not_modified(headers)(scope, receive, send)
                return
            headers["Content-Type"] = MEDIA_TYPES[self._format]
            headers["Content-Disposition"] = content_disposition(self._batch_id, self._format)
            if is_head(scope):
                await send(_start(headers, None))
                await send({"type": "http.response.body"})
                return
            async with service.turn(), self._source(opened, encoding) as source:
                await self._send_unless_gone(service, source, headers, receive, send)

    @asynccontextmanager
    async def _source(self, opened: OpenSnapshot, encoding: Encoding | None) -> AsyncIterator[_Source]:
        key = (self._batch_id, self._format, encoding)
        with opened.files.open(key) as kept:
            if kept is not None:
                yield KeptSource(*kept)
                return
        with opened.database.reader() as reader:
            writer = CacheWriter(opened.files, key)
            source = SnapshotSource(reader, self._batch_id, self._format, encoding, writer)
            try:
                yield source
            finally:
                source.close()
                writer.end(keep=False)

    async def _send_unless_gone(
        self, service: Service, source: _Source, headers: dict[str, str], receive: Receive, send: Send
    ) -> None:
        failure: Exception | None = None
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                while (await receive())["type"] != "http.disconnect":
                    pass
                # What runs in a thread is not cancelled from here: DuckDB is asked to stop, and the thread ends.
                source.stop()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch)
            try:
                await self._send(service, source, headers, send)
            except Exception as error:  # noqa: BLE001  raised again outside of the group, which would wrap it
                failure = error
            tasks.cancel_scope.cancel()
        if failure is not None and not source.is_stopped:
            raise failure

    async def _send(self, service: Service, source: _Source, headers: dict[str, str], send: Send) -> None:
        limits = service.settings
        is_started = False
        try:
            # The first part comes before the headers: what fails until then gets a status of its own.
            part = await service.step(source.read)
            is_started = True
            await send(_start(headers, source.size))
            with anyio.fail_after(limits.api_export_max_seconds):
                while part is not None:
                    for begin in range(0, len(part), _BLOCK):
                        with anyio.fail_after(limits.api_stall_seconds):
                            body = part[begin : begin + _BLOCK]
                            await send({"type": "http.response.body", "body": body, "more_body": True})
                    part = body = b""  # so that it is not in memory with the next one
                    part = await service.step(source.read)
            await send({"type": "http.response.body"})
        except TimeoutError:
            # The response is left unfinished: the connection is closed, and the client sees that the file is cut off.
            _LOG.warning("Cut off: the client of batch %s reads too slowly", shown_id(self._batch_id))
        except ExportError as error:
            if not is_started:
                raise
            if not source.is_stopped:
                _LOG.error("Batch %s was cut off: %s", shown_id(self._batch_id), error)


def _start(headers: dict[str, str], size: int | None) -> Message:
    known = headers if size is None else {**headers, "Content-Length": str(size)}
    return {
        "type": "http.response.start",
        "status": HTTPStatus.OK,
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in known.items()],
    }


def require_batch(reader: Reader, batch_id: str) -> Row:
    """The summary of a batch.

    Raises:
        ProblemError: There is no such batch; the document names the closest ones.
    """
    row = find_batch(reader, batch_id)
    if row is None:
        closest = closest_batch_ids(reader, batch_id)
        raise not_found(
            "batch",
            f"Snapshot {reader.snapshot.manifest.id} has no batch {shown_id(batch_id)}. Ids are compared byte for byte;"
            " if the batch is newer than the snapshot, export again.",
            closest,
        )
    return row


def content_disposition(batch_id: str, batch_format: BatchFormat) -> str:
    """The header that names the file (RFC 6266), safe on every system; with the letters of an id that is not ASCII."""
    plain = file_name(batch_id, batch_format)
    header = f'attachment; filename="{plain}"'
    if batch_id.isascii():
        return header
    letters = "".join(c if c.isalnum() or c in "_.-" else "_" for c in batch_id[:_NAME_CHARACTERS])
    return f"{header}; filename*=UTF-8''{quote(f'batch-{letters}-{short_hash(batch_id)}.{batch_format}', safe='')}"
