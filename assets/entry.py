"""Where the console script begins: it sees that the package `pipelines` is ours before it loads anything of it.

Others may use that name too. In an environment of its own nothing hides ours but a folder on PYTHONPATH.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

_PACKAGE = "pipelines"


def main() -> None:
    """Run the console script; without our package it says why, with exit status 1."""
    ours = Path(__file__).resolve().parents[1] / _PACKAGE
    spec = find_spec(_PACKAGE)
    found = [Path(folder).resolve() for folder in (spec.submodule_search_locations if spec else None) or []]
    if ours not in found:
        sys.stderr.write(
            f"Error: Another package named {_PACKAGE} hides the one of lei-exports.\n"
            f"  expected: {ours}\n"
            f"  found: {', '.join(map(str, found)) or 'a module that is no package'}\n"
            "  way out: take its folder out of PYTHONPATH, and install lei-exports into an environment of its own"
            " (uv tool install, pipx)\n"
        )
        sys.exit(1)
    from assets.cli import main as run_command  # noqa: PLC0415  only now: it loads that package

    run_command()
