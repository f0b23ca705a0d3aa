"""Text of data for a terminal: as it is, but for what a terminal acts on or a person can't see."""

import unicodedata

# Control characters (C0, DEL and C1), formats (bidirectional controls, invisible marks, tags), halves of characters as
# in file names that are no UTF-8, ends of lines and paragraphs.
_ESCAPED = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
# Formats that belong to the spelling of words (Persian, Hindi, …) and of emoji: zero-width non-joiner and joiner.
_SPELLING = "\u200c\u200d"


def printable(text: str, keep: str = "") -> str:
    r"""Text with its control characters escaped, as `\x1b`.

    A backslash of the data stays as it is: this is for people; JSON and CSV are exact.

    Args:
        keep: Characters to leave, such as the line ends of a message of several lines.
    """
    if text.isprintable():
        return text
    return "".join(c if _is_shown(c) or c in keep else c.encode("unicode_escape").decode() for c in text)


def _is_shown(character: str) -> bool:
    return unicodedata.category(character) not in _ESCAPED or character in _SPELLING
