"""The OpenAPI document: problem documents of every operation, and the token."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from pipelines.serving.models import ExportedDomain
from pipelines.serving.problems import MEDIA_TYPE, Problem
from pipelines.serving.responses import SNAPSHOT_ID
from pipelines.serving.security import OPEN_PATHS

_PROBLEM = {"$ref": "#/components/schemas/Problem"}
_DESCRIPTIONS = {
    304: "What If-None-Match names is still so",
    400: "The request can't be understood",
    401: "The token is missing or wrong",
    404: "The current snapshot has no such thing",
    406: "None of the formats is accepted",
    422: "A parameter can't be used",
    503: "Nothing is published, the query was stopped, or too much is being sent: Retry-After says when",
    507: "The answer, or a row of it, needs more memory than the server may take (API_MEMORY_MB)",
}
_ALWAYS = (401, 422, 503, 507)


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says of its failures, besides those that all have."""
    return {
        status: {"description": _DESCRIPTIONS[status], "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
        for status in sorted({*_ALWAYS, *statuses})
    }


def from_snapshot(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says that answers from the snapshot."""
    return {304: {"description": _DESCRIPTIONS[304]}, **problems(*statuses)}


def add_openapi(app: FastAPI, *, has_token: bool) -> None:
    """Complete the document, made when it is first asked for."""

    def make() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _complete(app, has_token=has_token)
        return app.openapi_schema

    app.openapi = make  # type: ignore[method-assign]


def _complete(app: FastAPI, *, has_token: bool) -> dict[str, Any]:
    document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    components = document.setdefault("components", {})
    # What no route names as its model.
    _, others = models_json_schema(
        [(Problem, "serialization"), (ExportedDomain, "serialization")], ref_template="#/components/schemas/{model}"
    )
    components.setdefault("schemas", {}).update(others["$defs"])
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if has_token and path not in OPEN_PATHS:
                operation["security"] = [{"token": []}]
            found = operation["responses"].get("200", {})
            if "304" in operation["responses"]:
                found.setdefault("headers", {}).update(
                    {
                        SNAPSHOT_ID: {
                            "description": "The snapshot that the answer is from",
                            "schema": {"type": "string"},
                        },
                        "ETag": {"description": "For If-None-Match", "schema": {"type": "string"}},
                    }
                )
    if has_token:
        components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return document
