"""The page /docs, where / leads: Swagger UI from the package fastapi-swagger, so that no other server is asked."""

from functools import cache
from html import escape
from importlib import resources

from fastapi import APIRouter, FastAPI
from starlette.responses import HTMLResponse, RedirectResponse, Response

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
