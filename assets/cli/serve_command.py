"""The command `lei-exports serve`: the published snapshot over HTTP."""

import os
import sys
from importlib.util import find_spec
from typing import Annotated

import typer

from pipelines.errors import SettingsError
from pipelines.system.processes import command_of, environment_of

_NEEDED = ("fastapi", "fastapi_swagger", "uvicorn")  # of the extra `serve`


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any other than loopback needs EXPORT_API_TOKEN.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: any free one.", min=0, max=65535)] = 8000,
) -> None:
    """Serve batches, domains and legal entities from the published snapshot over HTTP, documentation at /docs."""
    missing = [name for name in _NEEDED if find_spec(name) is None]
    if missing:
        raise SettingsError(
            "The server is not installed", found=f"no module {missing[0]}", fix="install lei-exports[serve]"
        )
    # In the same process, again: what the command line has loaded would stay with the server as long as it runs.
    sys.stdout.flush()
    command = [*command_of("pipelines.serving"), host, str(port)]
    os.execve(command[0], command, environment_of())  # noqa: S606  a module of this package
