"""The application: everything put together for one address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.serving.connections import Admission, Connections
from pipelines.serving.documentation import OPENAPI_PATH, add_documentation
from pipelines.serving.openapi import add_openapi
from pipelines.serving.problems import add_problem_handlers
from pipelines.serving.responses import SNAPSHOT_ID
from pipelines.serving.routes import router
from pipelines.serving.security import OPEN_PATHS, HostCheck, RequestLogMiddleware, TokenCheck
from pipelines.serving.service import Service
from pipelines.serving.settings import (
    LOOPBACK_HOSTS,
    ServingSettings,
    is_loopback,
    require_cache_folder,
    require_safe_address,
)

_DESCRIPTION = (
    "Batches, domains and legal entities from the published snapshot. Every answer is of one snapshot, the header"
    " Snapshot-Id says which. PostgreSQL is never asked."
)


def create_app(settings: ServingSettings, host: str, connections: Connections) -> FastAPI:
    """The application.

    Args:
        settings: Its settings.
        host: The address that it is served at.
        connections: Those of its server.

    Raises:
        SettingsError: The address can be reached from other machines, and there is no token; or the folder
            of the cache can't be used.
    """
    require_safe_address(host, settings)
    require_cache_folder(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = app.state.service = Service(settings)
        service.pool.refresh()
        following = asyncio.create_task(service.follow())
        try:
            yield
        finally:
            following.cancel()
            service.pool.close()

    app = FastAPI(
        title="lei-exports",
        version=CONTRACT_VERSION,
        description=_DESCRIPTION,
        docs_url=None,
        redoc_url=None,
        openapi_url=OPENAPI_PATH,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        lifespan=lifespan,
        middleware=_middleware(settings, host, connections),
    )
    app.include_router(router)
    add_documentation(app)
    add_problem_handlers(app)
    add_openapi(app, has_token=settings.export_api_token is not None)
    return app


def _middleware(settings: ServingSettings, host: str, connections: Connections) -> list[Middleware]:
    layers = [Middleware(RequestLogMiddleware), Middleware(Admission, connections=connections, open_paths=OPEN_PATHS)]
    if is_loopback(host) or settings.api_hosts:
        # Elsewhere the token keeps out requests by another name.
        layers.append(Middleware(HostCheck, hosts=(*LOOPBACK_HOSTS, host, *settings.api_hosts)))
    if settings.api_cors_origins:
        layers.append(
            Middleware(
                CORSMiddleware,
                allow_origins=settings.api_cors_origins,
                allow_methods=("GET", "HEAD"),
                allow_headers=("Authorization", "If-None-Match"),
                expose_headers=(SNAPSHOT_ID, "ETag", "Content-Disposition", "Retry-After"),
            )
        )
    if settings.export_api_token is not None:
        layers.append(Middleware(TokenCheck, token=settings.export_api_token))
    return layers
