"""The application, put together for one address, and the server that runs it: the socket, uvicorn, the log."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware

from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.serving.connections import Admission, Connections, guarded
from pipelines.serving.documentation import OPENAPI_PATH, PAGES, add_documentation, add_openapi
from pipelines.serving.problems import add_problem_handlers
from pipelines.serving.responses import SNAPSHOT_ID
from pipelines.serving.routes import router
from pipelines.serving.security import HostCheck, RequestLogMiddleware, TokenCheck
from pipelines.serving.service import Service
from pipelines.serving.settings import (
    LOOPBACK_HOSTS,
    ServingSettings,
    is_loopback,
    listen,
    require_cache_folder,
    require_safe_address,
)
from pipelines.system.memory import share_arenas
from pipelines.system.printable import printable

_DESCRIPTION = (
    "Batches, domains and legal entities from the published snapshot. Every answer is of one snapshot, the header"
    " Snapshot-Id says which. PostgreSQL is never asked."
)
# Connections at a time, idle ones included; the fewest are for a system that allows only few open files.
_MAX_CONNECTIONS, _FEWEST_CONNECTIONS = 1_000, 64
# Descriptors for the files of snapshots, DuckDB and processes.
_OTHER_FILES = 200
# Batches that are being sent when the server is asked to stop have so long to end.
_STOP_SECONDS = 10


def create_app(settings: ServingSettings, host: str, connections: Connections) -> FastAPI:
    """The application.

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
    layers = [Middleware(RequestLogMiddleware), Middleware(Admission, connections=connections)]
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
        layers.append(Middleware(TokenCheck, token=settings.export_api_token, pages=PAGES))
    return layers


class _PrintableFormatter(logging.Formatter):
    """Log lines for a terminal: an error may hold names of the data."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record), keep="\n")


def serve(settings: ServingSettings, host: str, port: int, on_listening: Callable[[str], None]) -> None:
    """Serve until the process is asked to stop.

    Args:
        port: Port; 0: any free one.
        on_listening: Called with the URL once connections are taken.

    Raises:
        SettingsError: The address can't be used, or can be reached from other machines and there is no token.
    """
    share_arenas()  # else 4 MB more while a batch is sent
    files = _raise_file_limit(_MAX_CONNECTIONS + _OTHER_FILES)
    most = max(_FEWEST_CONNECTIONS, min(_MAX_CONNECTIONS, files - _OTHER_FILES))
    connections = Connections(most, settings)
    app = create_app(settings, host, connections)
    handler = logging.StreamHandler()
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        http=guarded(connections),
        timeout_graceful_shutdown=_STOP_SECONDS,
        ws="none",
    )
    with listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        on_listening(f"http://{shown}:{listening.getsockname()[1]}")
        uvicorn.Server(config).run(sockets=[listening])


def _raise_file_limit(wanted: int) -> int:
    """Allow this process so many open files, where the system lets it; how many it may have now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return wanted if soft == resource.RLIM_INFINITY else soft
