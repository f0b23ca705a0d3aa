"""What a child process wrote to standard error, in words that may stand in a log: kinds of errors and places in code.

Its texts stay out: they can hold row content.
"""

import re
from typing import IO

# Of each the first group is what may be said; the last match of a text counts.
_KINDS = (
    re.compile(r"^(Fatal Python error: [A-Z][\w ]{1,40})", re.MULTILINE),
    re.compile(r"(error while loading shared libraries: [\w.+-]+)"),
    re.compile(r"(terminate called after throwing an instance of '[\w:<>]+')"),
    re.compile(r"(panicked at [\w./-]+:\d+)"),
    re.compile(r": ([A-Z]\w*Warning): "),
    re.compile(r"^(ModuleNotFoundError: No module named '[\w.]+')", re.MULTILINE),
    re.compile(r"^((?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Warning|Interrupt|Exit))\b", re.MULTILINE),
)
_PLACE = re.compile(r'File "[^"\n]*?([\w.-]+)", line (\d+)')
_MOST_BYTES = 65_536


def describe_stderr(errors: IO[bytes]) -> str:
    """Describe what a process wrote.

    Args:
        errors: The file that was its standard error; its last 64 KB are read.

    Returns:
        Such as `MemoryError at database_sql.py:41`; "" where it wrote nothing.
    """
    size = errors.seek(0, 2)
    errors.seek(max(0, size - _MOST_BYTES))
    text = errors.read().decode(errors="replace")
    if not text.strip():
        return ""
    kind = next((found[-1] for pattern in _KINDS if (found := pattern.findall(text))), "")
    places = _PLACE.findall(text)
    # A traceback ends with the innermost call; what is written at a crash begins with it.
    innermost = 0 if kind.startswith("Fatal") else -1
    place = " at {}:{}".format(*places[innermost]) if places else ""
    lines = len(text.strip().splitlines())
    return f"{kind}{place}" if kind else f"{lines} lines of no known kind{place}"
