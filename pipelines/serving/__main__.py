"""`python -m pipelines.serving HOST PORT`: the server's process, without what the command line loads: 6 MB less."""

import sys

from pipelines.system import lean_imports  # noqa: F401  first: it works before the contracts are loaded only

# isort: split
from pipelines.errors import ExportError
from pipelines.serving.server import serve
from pipelines.serving.settings import ServingSettings
from pipelines.system.printable import printable

_INTERRUPTED = 130


def main() -> int:
    """Serve at the host and port of the command line until asked to stop; the exit status."""
    host, port = sys.argv[1], int(sys.argv[2])
    try:
        settings = ServingSettings.load()
        serve(settings, host, port, lambda url: _log(settings, url))
    except ExportError as error:
        parts = (("expected", error.expected), ("found", error.found), ("fix", error.fix))
        lines = [f"Error: {error.what}", *(f"  {label}: {text}" for label, text in parts if text)]
        sys.stderr.write("\n".join([*map(printable, lines), ""]))
        return 1
    except KeyboardInterrupt:
        return _INTERRUPTED
    return 0


def _log(settings: ServingSettings, url: str) -> None:
    lines = (
        f"Serving   {settings.export_dir}",
        f"Where     {url} (documentation: {url}/docs)",
        f"Token     {'needed' if settings.export_api_token else 'none: this machine only'}",
        "Stop      Ctrl+C",
    )
    sys.stdout.write("\n".join([*map(printable, lines), ""]))
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
