"""What a person sees in a terminal while a command runs: live progress, errors."""

import sys
import time
from textwrap import shorten
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Column

from assets.cli.console import lines_of, new_console, print_wrapped, styled
from pipelines.errors import ExportError
from pipelines.progress import Progress as Message
from pipelines.progress import Stage
from pipelines.system.printable import printable
from pipelines.system.processes import uninterrupted

_STAGES: dict[Stage, str] = {
    "wait": "Waiting",
    "read": "Reading PostgreSQL",
    "build": "Building tables",
    "summarize": "Summarizing",
    "publish": "Publishing",
    "push": "Sending",
    "pull": "Fetching",
    "engine": "Running tasks",
}
_LINE_SECONDS = 5.0
# What stands before the words of a stage: its name, its bar, the percentage, a space after each.
_BAR_WIDTH, _NARROWEST = 18 + 1 + 8 + 1 + 5 + 1, 10
# A rate of less time than this is noise.
_RATE_SECONDS = 0.5


class ProgressView:
    """Shows the stages of a run: bars on a terminal; elsewhere a line when one begins and ends, and each 5 s."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._tasks: dict[Stage, TaskID] = {}
        self._started: dict[Stage, float] = {}
        self._line, self._line_at = "", 0.0
        self._progress = Progress(
            # Millions of rows fit into 80 columns; what does not is cut at its end.
            TextColumn("{task.description:<18}", table_column=Column(no_wrap=True, min_width=18)),
            BarColumn(bar_width=8, table_column=Column(min_width=8)),
            TextColumn("{task.percentage:>3.0f} %", table_column=Column(no_wrap=True, min_width=5)),
            TextColumn("{task.fields[reported]}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis")),
            console=console,
            disable=not console.is_terminal,
        )
        self._is_complete = False

    def __enter__(self) -> Self:
        """Start to show."""
        self._progress.start()
        return self

    @uninterrupted()
    def __exit__(self, *_: object) -> None:
        """Leave the last state on the screen: how far it came, where it did not come to its end."""
        if self._is_complete:
            self._end_stage()
        for task in self._progress.tasks:
            if not task.finished:
                reported = f"stopped: {task.fields['reported']}" if task.fields["reported"] else "stopped"
                self._progress.update(task.id, total=task.total or 1, reported=self._fitting(reported))
        self._progress.stop()
        self._print_line()

    def complete(self) -> None:
        """The run has succeeded: the last stage is done."""
        self._is_complete = True

    @uninterrupted()  # Ctrl-C in the middle of drawing would leave half of it on the screen
    def show(self, message: Message) -> None:
        """Take one message of the run."""
        now = time.monotonic()
        is_new = message.stage not in self._tasks
        if is_new:
            self._end_stage()
            self._print_line()
            self._started[message.stage] = now
            self._tasks[message.stage] = self._progress.add_task(_STAGES[message.stage], total=None, reported="")
        how_far, what = describe_progress(message, now - self._started[message.stage]), printable(message.what)
        self._progress.update(
            self._tasks[message.stage],
            completed=message.done,
            total=message.total or None,
            reported=self._fitting(how_far or what),
        )
        self._line = f"{_STAGES[message.stage]}: {', '.join(part for part in (how_far, what) if part)}"
        if is_new or now - self._line_at >= _LINE_SECONDS:
            self._line_at = now
            self._print_line()

    def _fitting(self, reported: str) -> str:
        """As many words as have room next to a bar."""
        return shorten(
            reported, max(_NARROWEST, self._console.width - _BAR_WIDTH), placeholder=" …", break_on_hyphens=False
        )

    def _print_line(self) -> None:
        """Print the last state, where it is not printed yet and there are no bars."""
        if self._line and not self._console.is_terminal:
            self._console.print(self._line, markup=False, highlight=False, emoji=False, soft_wrap=True)
        self._line = ""

    def _end_stage(self) -> None:
        """A stage that did not count what it does is over when the next one begins."""
        for task in self._progress.tasks:
            if task.total is None:
                self._progress.update(task.id, total=1, completed=1)


def describe_progress(message: Message, seconds: float) -> str:
    """How far a stage is so many seconds after it began, in words: what is done of how much, how much a second."""
    if not message.done:
        return ""
    reported = [
        f"{message.done:,} of {message.total:,} {message.unit}" if message.total else f"{message.done:,} {message.unit}"
    ]
    if message.unit != "parts" and seconds >= _RATE_SECONDS:
        reported.append(f"{message.done / seconds:,.0f} {message.unit}/s")
    return ", ".join(reported)


def show_error(error: ExportError | str) -> None:
    """Print an error to standard error, its parts on lines of their own."""
    console = new_console(stderr=True)
    what = error if isinstance(error, str) else error.what
    print_wrapped(console, lines_of(what), styled(("Error", "bold red"), ": "))
    if not isinstance(error, str):
        for label, text in (("expected", error.expected), ("found", error.found), ("fix", error.fix)):
            if text:
                print_wrapped(console, lines_of(text), f"  {label}: ")
    sys.stderr.flush()
