"""How the console script teaches: commands in groups, each with examples under its help."""

import os
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

from assets.cli.interrupts import interruptible

_NAME = "lei-exports"
OPERATE = "Operate"
READ = "Look and take along"
SNAPSHOTS = "Snapshots"


def own_command() -> str:
    """What a person types to start this console script again: its name where the shell finds it, else its path."""
    started = sys.argv[0]
    found = shutil.which(_NAME)
    if Path(started).name != _NAME or (found and os.path.realpath(found) == os.path.realpath(started)):
        return _NAME
    return shlex.quote(started)


def add_command(
    app: typer.Typer,
    name: str,
    function: Callable[..., None],
    group: str,
    *examples: str,
    context_settings: dict[str, Any] | None = None,
) -> None:
    """Make a function a command.

    Args:
        app: The console script.
        name: Of the command.
        function: What it does; its docstring is the help.
        group: One of the groups above.
        examples: Command lines to copy.
        context_settings: As typer takes them.
    """
    shown = "\n\n".join(f"Example: {example}" for example in examples)
    app.command(name, epilog=shown, rich_help_panel=group, context_settings=context_settings)(interruptible(function))
