"""How the console script teaches: commands in groups, each with examples under its help.

Belongs here: the groups and how an example is shown. Does not: any command.
"""

from collections.abc import Callable
from typing import Any

import typer

from assets.interrupts import interruptible

OPERATE = "Operate"
LOOK = "Look and take along"
SNAPSHOTS = "Snapshots"


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
