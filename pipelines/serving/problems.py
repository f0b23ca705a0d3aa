"""Errors as problem documents (RFC 9457).

No document holds a path of the server or a traceback; those are in its log.
"""

import json
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import cast

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from pipelines.errors import AnswerTooLargeError, BatchFileError, ExportError, QueryStoppedError

MEDIA_TYPE = "application/problem+json"
_LOG = logging.getLogger(__name__)
_RETRY_AFTER = {"Retry-After": "5"}


class UnusableParameter(BaseModel):
    """A parameter that can't be used."""

    place: str = Field(alias="in", description="Where it stands, such as `query.limit`")
    message: str = Field(description="Why it can't be used")


class Problem(BaseModel):
    """A problem document (RFC 9457)."""

    type: str = Field(
        default="about:blank", description="Kind of problem: a URN, or about:blank where the status says it all"
    )
    title: str = Field(description="The kind of problem in words, always the same for one kind")
    status: int = Field(description="HTTP status")
    detail: str | None = Field(default=None, description="What is wrong with this request, and how to fix it")
    closest: list[str] | None = Field(default=None, description="Unknown batch: the ids that are spelled most like it")
    errors: list[UnusableParameter] | None = Field(default=None, description="Unusable parameters: where, and why")


class ProblemError(Exception):
    """A request that gets a problem document for an answer."""

    def __init__(
        self, status: int, kind: str, title: str, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.problem = Problem(type=f"urn:lei-exports:{kind}", title=title, status=status, detail=detail)
        self.headers = headers


def not_found(kind: str, detail: str, closest: list[str] | None = None) -> ProblemError:
    """The current snapshot has no such thing."""
    error = ProblemError(HTTPStatus.NOT_FOUND, f"unknown-{kind}", f"Unknown {kind}", detail)
    error.problem.closest = closest
    return error


def too_busy(detail: str) -> ProblemError:
    """The server does as much as it is set to already."""
    return ProblemError(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "Too busy", detail, _RETRY_AFTER)


def too_large(detail: str) -> ProblemError:
    """The answer needs more memory than the server may take."""
    return ProblemError(HTTPStatus.INSUFFICIENT_STORAGE, "too-large", "Answer too large", detail)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """A problem document as a response."""
    content = json.dumps(problem.model_dump(exclude_none=True, by_alias=True), ensure_ascii=False).encode(
        "utf-8", "replace"
    )
    return Response(
        content, problem.status, headers={"Cache-Control": "no-store", **(headers or {})}, media_type=MEDIA_TYPE
    )


def plain_problem(status: int, detail: str | None = None, headers: Mapping[str, str] | None = None) -> Response:
    """A problem that its status describes."""
    return problem_response(Problem(title=HTTPStatus(status).phrase, status=status, detail=detail), headers)


def add_problem_handlers(app: FastAPI) -> None:
    """Turn every failure of the app into a problem document."""
    app.add_exception_handler(ProblemError, _on_problem)
    app.add_exception_handler(ExportError, _on_export_error)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http_error)
    app.add_exception_handler(Exception, _on_bug)


async def _on_problem(_: Request, error: Exception) -> Response:
    known = cast("ProblemError", error)
    return problem_response(known.problem, known.headers)


async def _on_export_error(_: Request, error: Exception) -> Response:
    busy, retry = HTTPStatus.SERVICE_UNAVAILABLE, _RETRY_AFTER
    if isinstance(error, QueryStoppedError):
        detail = "The query took too long. Ask for less, or try again later."
        problem = ProblemError(busy, "query-stopped", "Query stopped", detail, retry)
    elif isinstance(error, AnswerTooLargeError):
        _LOG.warning("Refused: %s", error)
        problem = too_large(f"{error.what}: {error.expected}. Ask for less, or have that setting raised.")
    elif isinstance(error, BatchFileError):
        problem = ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "does-not-fit", "Does not fit the format", str(error))
    else:
        _LOG.error("No snapshot to answer from: %s", error)
        detail = "Nothing is published, or what is published can't be read; the server's log says which."
        problem = ProblemError(busy, "no-snapshot", "No snapshot", detail, retry)
    return await _on_problem(_, problem)


async def _on_invalid(_: Request, error: Exception) -> Response:
    errors = [
        UnusableParameter.model_validate({"in": ".".join(map(str, found["loc"])), "message": found["msg"]})
        for found in cast("RequestValidationError", error).errors()
    ]
    detail = "; ".join(f"{found.place}: {found.message}" for found in errors)
    problem = ProblemError(HTTPStatus.UNPROCESSABLE_ENTITY, "unusable-parameters", "Unusable parameters", detail)
    problem.problem.errors = errors
    return problem_response(problem.problem)


async def _on_http_error(_: Request, error: Exception) -> Response:
    known = cast("HTTPException", error)
    return plain_problem(known.status_code, None, known.headers)


async def _on_bug(_: Request, __: Exception) -> Response:
    return plain_problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The server's log says what happened.")
