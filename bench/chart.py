"""The charts of docs/benchmarks.md; that of the tools: how many times the floor each takes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.peer_list import PEERS
from pipelines.report.charts import BLUE, GREY, draw_bars
from pipelines.report.drawing import draw_here

_LABELS = {
    "ours": "lei-exports, 7 tables",
    "two": "lei-exports, 2 tables",
    **{peer.name: peer.short for peer in PEERS},
}
# Bars of what takes hundreds of times the floor would leave nothing of the others to see.
_LONGEST = 1.25


def draw_ratios(ratios: Mapping[str, float], path: Path) -> None:
    """Draw one bar per tool, the fastest first; ours blue, others grey, those extrapolated cut where too long."""
    shown = sorted((name for name in _LABELS if name in ratios), key=lambda name: ratios[name])
    whole = max((ratios[name] for name in shown if not _LABELS[name].startswith("≈")), default=1.0)
    most = whole * _LONGEST
    texts = [f"{ratios[name]:,.1f}" + (" …" if ratios[name] > most else "") for name in shown]
    spec = draw_bars([_LABELS[name] for name in shown], [min(ratios[name], most) for name in shown], texts)
    for row, name in zip(spec["data"]["values"], shown, strict=True):
        row["color"] = BLUE if name in {"ours", "two"} else GREY
    write_chart(spec, "Seconds as a multiple of the floor F", "two tables, except where it says 7", path)


def write_chart(spec: Mapping[str, Any], text: str, subtitle: str, path: Path) -> None:
    """Write a chart with a title and a line below it as an SVG file."""
    title = {"text": text, "subtitle": subtitle, "fontSize": 13, "anchor": "start", "offset": 8}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(draw_here({**spec, "title": title, "background": "white", "padding": 10}), encoding="utf-8")
