"""Texts and numbers as people read them; what comes from the data is made harmless here, whatever it holds."""

import unicodedata
from collections.abc import Iterable

NONE = "(none)"  # NULL and blank alike
MAX_LABEL = 40
# A batch id as a whole, on demand.
WHOLE = 1000
_THOUSAND = 1000
_UNITS = ("", "k", "M", "G", "T")
# Marks on one letter; more would pile up over the lines above.
_MAX_MARKS = 2
# Widths in DejaVu Sans at 12 px, the widest of each group; all that is not named is as wide as a digit at most.
_WIDE_PX, _FOREIGN_PX, _DIGIT_PX = 12.5, 9.0, 7.7
_WIDTHS_PX = {
    **dict.fromkeys("'IJfijlrt.,:;/\\|!()[]- ", 5.0),
    **dict.fromkeys("ABCKRVXZ", 8.5),
    **dict.fromkeys("DGHNOQUw&#+<=>^~\N{MINUS SIGN}", 10.2),
    **dict.fromkeys("MWm%@\N{HORIZONTAL ELLIPSIS}", 12.1),
}


def plain(text: str | None, max_length: int = MAX_LABEL) -> str:
    """A value from the data, on one line, short, without control, formatting or direction-changing characters."""
    if text is None:
        return NONE
    # A text of megabytes costs nothing: what is far beyond the end is not looked at.
    start = unicodedata.normalize("NFC", text[: max_length * 4])
    head = " ".join(_visible(start).split())
    if not head:
        return NONE
    return head if len(head) <= max_length and len(text) <= max_length * 4 else f"{head[: max_length - 1]}…"


def distinct_labels(texts: Iterable[str | None], max_length: int = MAX_LABEL) -> list[str]:
    """Labels of different values, in their order: no two alike, also where shortening made them so."""
    labels: dict[str, None] = {}
    for text in texts:
        label = base = plain(text, max_length)
        number = 2
        while label in labels:
            label, number = f"{base} ({number})", number + 1
        labels[label] = None
    return list(labels)


def whole(number: int) -> str:
    """A whole number with its thousands apart."""
    return f"{number:,}"


def compact(number: float) -> str:
    """A number in at most three digits and a unit, for a place in a chart: 4.72M."""
    rank = 0
    while abs(number) >= _THOUSAND - 0.5 and rank < len(_UNITS) - 1:
        number, rank = number / _THOUSAND, rank + 1
    return f"{number:.3g}{_UNITS[rank]}"


def share(part: int, total: int) -> str:
    """A part in percent of a total; a part that is neither none nor all never reads 0 or 100."""
    if not total:
        return "0\N{NO-BREAK SPACE}%"
    percent = 100 * part / total
    if 0 < percent < 0.1:  # noqa: PLR2004  half of what one digit can show
        return "< 0.1\N{NO-BREAK SPACE}%"
    if 99.9 < percent < 100:  # noqa: PLR2004
        return "> 99.9\N{NO-BREAK SPACE}%"
    return f"{percent:.1f}\N{NO-BREAK SPACE}%" if percent % 1 else f"{percent:.0f}\N{NO-BREAK SPACE}%"


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun."""
    return f"{whole(number)} {one if number == 1 else many or one + 's'}"


def signed(number: int) -> str:
    """A difference with its sign."""
    return f"{number:+,}".replace("-", "\N{MINUS SIGN}") if number else "0"


def format_seconds(duration: float) -> str:
    """A duration: milliseconds below a second, minutes from two minutes on."""
    if duration < 1:
        return f"{duration * 1000:.0f}\N{NO-BREAK SPACE}ms"
    return f"{duration:.1f}\N{NO-BREAK SPACE}s" if duration < 120 else f"{duration / 60:.1f}\N{NO-BREAK SPACE}min"  # noqa: PLR2004


def width_px(text: str) -> float:
    """How wide a text of 12 px may get, by a wide font (DejaVu Sans): the reader's font is not known here."""
    return sum(map(_character_px, text))


def _character_px(character: str) -> float:
    if unicodedata.east_asian_width(character) in "WF":
        return _WIDE_PX
    return _WIDTHS_PX.get(character, _DIGIT_PX if character.isascii() else _FOREIGN_PX)


def _visible(text: str) -> str:
    characters: list[str] = []
    marks = 0
    for character in text:
        category = unicodedata.category(character)
        marks = marks + 1 if category in {"Me", "Mn"} else 0
        if character.isspace():
            characters.append(" ")
        elif category[0] == "C":  # control, format (direction, zero width), surrogate, private, unassigned
            characters.append("\N{REPLACEMENT CHARACTER}")
        elif marks <= _MAX_MARKS:
            characters.append(character)
    return "".join(characters)
