"""What the benchmarks write into docs/benchmarks.md: tables between markers, one pair a section."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.measure import Measurement, median

DOCUMENT = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write_section(name: str, lines: Sequence[str], document: Path = DOCUMENT) -> None:
    """Put lines between `<!-- name: begin -->` and `<!-- name: end -->`.

    Raises:
        ValueError: The markers are not there, once each and in this order.
    """
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    text = document.read_text(encoding="utf-8")
    body = "\n".join([begin, "", *lines, "", end])
    changed, count = re.subn(f"{re.escape(begin)}.*?{re.escape(end)}", lambda _: body, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{document.name} should have the section {name} once, found {count}")
    document.write_text(changed, encoding="utf-8")


def figures(names: Mapping[str, str], results: Mapping[str, Sequence[Measurement]]) -> list[str]:
    """A table of medians, one row per name that was measured, with ratios to the floor F of the same rows."""
    floor = median(results["floor"]).seconds
    lines = [
        "| what | seconds | from, to | x F | CPU s | PostgreSQL's CPU s | peak RSS MiB | PSS MiB | written MB |",
        "|---|---:|---|---:|---:|---:|---:|---:|---:|",
    ]
    for what, name in names.items():
        if not results.get(what):
            continue
        m = median(results[what])
        seconds = [found.seconds for found in results[what]]
        lines.append(
            f"| {name} | {m.seconds:,.1f} | {min(seconds):,.1f}, {max(seconds):,.1f} | {m.seconds / floor:,.2f}"
            f" | {m.cpu_seconds:,.1f} | {m.server_cpu_seconds:,.1f} | {m.peak_bytes / 2**20:,.0f}"
            f" | {m.peak_shared_bytes / 2**20:,.0f} | {m.written_bytes / 1e6:,.0f} |"
        )
    return lines
