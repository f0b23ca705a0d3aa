"""The OpenAPI document, and the page /docs, where / leads: Swagger UI of the package fastapi-swagger."""

from functools import cache
from html import escape
from importlib import resources
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.responses import HTMLResponse, RedirectResponse, Response

from pipelines.serving.models import ExportedDomain
from pipelines.serving.problems import MEDIA_TYPE, Problem
from pipelines.serving.responses import SNAPSHOT_ID
from pipelines.serving.security import OPEN_PATHS

_PACKAGE = "fastapi_swagger.resources"
_FILES = {
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": ("swagger-ui.css", "text/css"),
    "/docs/favicon.png": ("favicon-32x32.png", "image/png"),
}
OPENAPI_PATH = "/openapi.json"
_START_PATH = "/docs/start.js"
# What a browser has to load to show /docs.
PAGES = frozenset({"/", "/docs", OPENAPI_PATH, _START_PATH, *_FILES})
_HEADERS = {
    # Swagger UI sets styles on elements and draws from data: URLs; scripts and requests are this server's only.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline';"
    " img-src 'self' data:; connect-src 'self'; font-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cache-Control": "private, max-age=3600",
}
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" type="image/png" href="docs/favicon.png">
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="swagger-ui"></div>
<script src="docs/swagger-ui-bundle.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
_START = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  validatorUrl: null,
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
});
"""
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


def add_documentation(app: FastAPI) -> None:
    """Serve /docs and what it loads."""
    router = APIRouter(include_in_schema=False)
    page = _PAGE.format(title=escape(app.title))

    async def show_page() -> Response:
        return HTMLResponse(page, headers={**_HEADERS, "Cache-Control": "no-store"})

    async def start() -> Response:
        return Response(_START, media_type="text/javascript", headers=_HEADERS)

    async def lead_to_page() -> Response:
        return RedirectResponse("docs")  # relative: a proxy may have put it below a path of its own

    router.add_api_route("/", lead_to_page, methods=["GET"])
    router.add_api_route("/docs", show_page, methods=["GET"])
    router.add_api_route(_START_PATH, start, methods=["GET"])
    for path, (name, media_type) in _FILES.items():
        _add_file(router, path, name, media_type)
    app.include_router(router)


def _add_file(router: APIRouter, path: str, name: str, media_type: str) -> None:
    async def send_file() -> Response:
        return Response(_read(name), media_type=media_type, headers=_HEADERS)

    router.add_api_route(path, send_file, methods=["GET"])


@cache
def _read(name: str) -> bytes:
    return resources.files(_PACKAGE).joinpath(name).read_bytes()


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
