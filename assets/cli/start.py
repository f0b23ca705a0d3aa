"""Where the console script `lei-exports` begins, before anything of ours is loaded.

Others may use the name of our package too. In an environment of its own nothing hides ours but a folder on PYTHONPATH.
"""

import signal
import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "pipelines"
_INTERRUPTED = 130


def main() -> None:
    """Load the commands and run the one that was asked for; a Ctrl-C while they are loaded ends it in a line."""
    try:
        _require_own_package()
        from assets.cli.commands import main as run_command  # noqa: PLC0415  see above

        run_command()
    except KeyboardInterrupt:
        sys.stderr.write("Error: Interrupted.\n")
        sys.exit(_INTERRUPTED)
    finally:
        # All is said and done: the interpreter's own end is not to be interrupted.
        signal.signal(signal.SIGINT, signal.SIG_IGN)


def _require_own_package() -> None:
    """See that `pipelines` is the package that lies next to this one.

    Raises:
        SystemExit: Another one hides it; with status 1, it was said where that is.
    """
    ours = Path(__file__).resolve().parents[2] / _PACKAGE
    spec = find_spec(_PACKAGE)
    found = [Path(folder).resolve() for folder in (spec.submodule_search_locations if spec else None) or []]
    if ours in found:
        return
    sys.stderr.write(
        f"Error: Another package named {_PACKAGE} hides the one of lei-exports.\n"
        f"  expected: {ours}\n"
        f"  found: {', '.join(map(str, found)) or 'a module that is no package'}\n"
        "  fix: take its folder out of PYTHONPATH, and install lei-exports into an environment of its own"
        " (uv tool install, pipx)\n"
    )
    sys.exit(1)
