"""Consoles that show text as it is: no markup, no emoji codes, control characters escaped.

Every string that is printed with one of these, or stands in a table, goes through `printable` and is one line: what a
command prints may hold names and values of the data. Colours and lines are those of a rich.text.Text (`styled`).
"""

import codecs
import io
import os
import re
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from rich.cells import cell_len
from rich.console import Console, HighlighterType, JustifyMethod, OverflowMethod
from rich.containers import Lines
from rich.style import Style
from rich.text import Text

from pipelines.errors import SettingsError
from pipelines.system.environment import data_folder
from pipelines.system.printable import printable

# Columns that a text has at least, however narrow the terminal is.
_NARROWEST = 20
_COLUMNS = re.compile(r"[2-9]\d|[1-9]\d{2,3}", re.ASCII)  # as many, or more
# Columns of a pipe or a file. Every line of a table is as wide as its widest cell.
_WIDTH_ELSEWHERE = 1_000


class LiteralConsole(Console):
    """A console that takes no string for markup."""

    @cached_property
    def is_terminal(self) -> bool:
        """Whether it is one; asked once, when the console is made.

        A library may put a file in the place of standard output later, as Dagster does to keep what a step prints.
        """
        return bool(super().is_terminal)

    def render_str(  # noqa: PLR0913  as Rich has it
        self,
        text: str,
        *,
        style: str | Style = "",
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
        emoji: bool | None = None,
        markup: bool | None = None,
        highlight: bool | None = None,
        highlighter: HighlighterType | None = None,
    ) -> Text:
        """Make a string what Rich prints."""
        del emoji, markup, highlight, highlighter
        return Text(printable(text), style=style, justify=justify, overflow=overflow)


def new_console(*, stderr: bool = False) -> Console:
    """A console on standard output, or on standard error; what is no terminal is wide, so that no id is cut there."""
    environment = {**os.environ}
    if not _COLUMNS.fullmatch(environment.get("COLUMNS", "")):  # 0, say, would show nothing
        environment.pop("COLUMNS", None)
    console = LiteralConsole(stderr=stderr, highlight=False, emoji=False, markup=False, _environ=environment)
    if not console.is_terminal:
        console.width = _WIDTH_ELSEWHERE
    return console


def styled(*parts: str | tuple[str, str]) -> Text:
    """A text of parts: strings, and strings with a style such as `bold red`."""
    text = Text()
    for part in parts:
        content, style = (part, "") if isinstance(part, str) else part
        text.append(printable(content), style)
    return text


def print_wrapped(console: Console, text: Text | str, label: Text | str = "") -> None:
    """Print a text after a label; its further lines stand below the first one.

    On a terminal no line breaks inside a word; a word wider than the terminal (a path) is left whole, to be copied.
    Elsewhere each line of the text stays one line.
    """
    label = styled(label) if isinstance(label, str) else label
    text = styled(text) if isinstance(text, str) else text
    lines = list(text.split("\n", allow_blank=True))
    if console.is_terminal:
        room = max(_NARROWEST, console.width - label.cell_len)
        lines = [part for line in lines for part in _wrap(line, room)]
    for number, line in enumerate(lines):
        line.rstrip()
        console.print((Text(" " * label.cell_len) if number else label) + line, soft_wrap=True)


def _wrap(line: Text, width: int) -> Lines:
    """Break a line between words. Rich's own wrapping breaks or cuts a word that is too wide."""
    breaks, used = [], 0
    for word in re.finditer(r"\s*\S+\s*", line.plain):
        if used and used + cell_len(word[0].rstrip()) > width:
            breaks.append(word.start())
            used = 0
        used += cell_len(word[0])
    return line.divide(breaks)


def lines_of(text: str) -> Text:
    """A message of ours of several lines; in other strings an end of a line is escaped."""
    return Text("\n").join(map(styled, text.split("\n")))


def cell(value: object) -> Text:
    """A value in a table; nothing where it is None."""
    return Text("" if value is None else printable(str(value)))


def ascii_controls(json_text: str) -> str:
    r"""JSON of the same meaning without raw control characters: JSON itself escapes those below U+0020 only."""
    if json_text.isprintable():
        return json_text
    return re.sub(r"[^\n -~]", lambda found: _in_json(found.group()), json_text)


def _in_json(character: str) -> str:
    if printable(character) == character:
        return character
    units = character.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[n]:02x}{units[n + 1]:02x}" for n in range(0, len(units), 2))


class TerminalBytes(io.RawIOBase):
    """Shows a file of UTF-8 text on a terminal: what is written to it arrives there escaped."""

    def __init__(self, terminal: BinaryIO) -> None:
        self._terminal = terminal
        self._decoder = io.IncrementalNewlineDecoder(codecs.getincrementaldecoder("utf-8")("replace"), translate=True)

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Show what came; a character that is cut off here is shown with the next part."""
        text = self._decoder.decode(data)
        self._terminal.write(printable(text, keep="\n").encode())
        return len(data)


def name_new_folder(*used: Path) -> None:
    """Say on standard error that the data folder is made now: in a checkout it is there already.

    Args:
        used: The folders that the command makes; where each was chosen by a setting, nothing is said.
    """
    try:
        folder = data_folder()
    except SettingsError:  # there is none, so each of them was chosen
        return
    if any(path.is_relative_to(folder) for path in used) and not folder.exists():
        others = "EXPORT_DIR, EMBEDDED_DIR and DAGSTER_HOME choose other folders"
        print_wrapped(new_console(stderr=True), f"Data goes to {folder}, which is made now. {others}.")
