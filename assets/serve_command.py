"""The command `lei-exports serve`: the published snapshot over HTTP.

Belongs here: its options, and what it says to a person. Does not: serving (pipelines/serving).
"""

from typing import Annotated

import typer
from rich.console import Console

from pipelines.errors import SettingsError


def serve(
    host: Annotated[
        str, typer.Option(help="Address to listen at; any other than loopback needs EXPORT_API_TOKEN.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at; 0: any free one.", min=0, max=65535)] = 8000,
) -> None:
    """Serve batches, domains and legal entities from the published snapshot over HTTP, documentation at /docs."""
    try:
        from pipelines.serving.server import serve as serve_http  # noqa: PLC0415  an extra, and a second to load
        from pipelines.serving.settings import load_serving_settings  # noqa: PLC0415
    except ModuleNotFoundError as error:
        raise SettingsError(
            "The server is not installed", found=f"no module {error.name}", fix="install lei-exports[serve]"
        ) from error
    settings = load_serving_settings()
    console = Console(highlight=False)

    def say(url: str) -> None:
        console.print(f"Serving   {settings.export_dir}", soft_wrap=True)
        console.print(f"Where     {url} (documentation: {url}/docs)", soft_wrap=True)
        console.print(f"Token     {'needed' if settings.export_api_token else 'none: this machine only'}")
        console.print("Stop      Ctrl+C")

    serve_http(settings, host, port, say)
