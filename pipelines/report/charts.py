"""The kinds of chart, as Vega-Lite specifications: plain data, drawn by drawing.py.

All are as wide as a phone's column, with text of 12 px, so that they are readable there without being scaled down.
Texts and lines take the page's colour, so one drawing serves light and dark; the colours of the fills are from Okabe
and Ito's palette, distinct with any colour vision and visible on both grounds.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pipelines.report.texts import compact, width_px

Spec = dict[str, Any]

WIDTH = 340
TEXT_PX = 12
# Liberation Sans comes with vl-convert and is as wide as Arial: what is measured here fits there.
FONT = "Arial, Liberation Sans, Helvetica, sans-serif"
BLUE, VERMILLION, SKY, YELLOW, PURPLE = "#0072B2", "#D55E00", "#56B4E9", "#E69F00", "#CC79A7"

# For what is neither this nor that.
GREY = "#8A939C"

_ROW_PX, _COLUMNS_PX, _CELL_PX = 24, 190, 34
# What an axis of numbers takes at the left of columns, and a label's distance from the next.
_COUNT_AXIS_PX, _GAP_PX, _WIDE_LABEL_PX = 45, 10, 60
# A legend's symbol and the gap to the next entry.
_SYMBOL_PX = 26
# What a number in a bar needs besides its width.
_INSIDE_PX = 6
_DARK_CELL = 0.55
_DARK = {BLUE}  # colours that take white text; black is read on the others
_INK = "currentColor"


class Series(NamedTuple):
    """One of several parts that bars are stacked of.

    Attributes:
        name: As in the legend, and the key of its values.
    """

    name: str
    color: str


def draw_bars(labels: Sequence[str], values: Sequence[float], texts: Sequence[str], muted: str | None = None) -> Spec:
    """Horizontal bars, each with its number; labels are all different.

    Args:
        labels: From top to bottom.
        texts: What stands at the end of each.
        muted: Label of a bar that is not of the kind of the others.
    """
    rows = [
        {"label": label, "value": value, "text": text, "color": GREY if label == muted else BLUE}
        for label, value, text in zip(labels, values, texts, strict=True)
    ]
    return _spec(
        rows,
        height={"step": _ROW_PX},
        encoding={"y": _rows_axis(labels), "x": _lengths(labels, values, texts)},
        layer=[{"mark": _BAR, "encoding": {"color": _OWN_COLOR}}, _NUMBERS],
    )


def draw_differences(labels: Sequence[str], values: Sequence[int], texts: Sequence[str]) -> Spec:
    """Horizontal bars, right for more and left for fewer, each with its number; labels are all different."""
    rows = [
        {"label": label, "value": value, "text": text, "color": VERMILLION if value < 0 else BLUE}
        for label, value, text in zip(labels, values, texts, strict=True)
    ]
    reach = _edge([abs(value) for value in values], (WIDTH - _extent_px(labels)) / 2, texts)
    low, high = (-reach if min(values, default=0) < 0 else 0), (reach if max(values, default=0) > 0 else 0)
    x = {"field": "value", "type": "quantitative", "axis": None, "scale": {"domain": [low, high], "nice": False}}
    y = _rows_axis(labels)
    numbers = [
        {
            "mark": {"type": "text", "align": align, "dx": dx},
            "transform": [{"filter": test}],
            "encoding": {"y": y, "text": {"field": "text"}},
        }
        for align, dx, test in (("left", 5, "datum.value >= 0"), ("right", -5, "datum.value < 0"))
    ]
    bars = {"mark": _BAR, "encoding": {"y": y, "color": _OWN_COLOR}}
    zero = {"mark": {"type": "rule", "stroke": _INK, "strokeOpacity": 0.4}, "encoding": {"x": {"datum": 0}}}
    return _spec(rows, height={"step": _ROW_PX}, encoding={"x": x}, layer=[bars, zero, *numbers])


def draw_stacked_bars(
    labels: Sequence[str], series: Sequence[Series], values: Mapping[str, Sequence[int]], texts: Sequence[str]
) -> Spec:
    """Horizontal bars of several parts, each with its number where it fits; at the end that of the whole.

    Args:
        labels: From top to bottom, all different.
        series: The parts, from left to right.
        values: Lengths, by part.
    """
    totals = [sum(values[part.name][i] for part in series) for i in range(len(labels))]
    room = WIDTH - _extent_px(labels)
    px = room / _edge(totals, room, texts)
    rows = _stacked(labels, series, values)
    for row in rows:
        text = compact(row["value"])
        row["number"] = text if width_px(text) + _INSIDE_PX <= row["value"] * px else ""
    ends = [{"label": a, "value": b, "text": c} for a, b, c in zip(labels, totals, texts, strict=True)]
    bars = {
        "mark": {**_BAR, **_EDGE},
        "encoding": {"color": _colors(series, room), "order": _ORDER, "strokeWidth": _EDGE_PX},
    }
    return _spec(
        rows,
        height={"step": _ROW_PX},
        encoding={"y": _rows_axis(labels), "x": _lengths(labels, totals, texts)},
        layer=[bars, _inside(series), {"data": {"values": ends}, **_NUMBERS}],
    )


def draw_columns(
    labels: Sequence[str], series: Sequence[Series], values: Mapping[str, Sequence[int]], title: str
) -> Spec:
    """Vertical columns in the order of an axis, of one part (then without legend) or of several.

    Above each stands its number, where there is room for all.
    """
    axis = {"title": title, "labelAngle": 0, "values": _fitting(labels), "grid": False}
    x = {"field": "label", "type": "ordinal", "sort": None, "axis": axis, "scale": {"paddingInner": 0.12}}
    y = {"field": "value", "type": "quantitative", "axis": _COUNT_AXIS}
    edge = {"strokeWidth": _EDGE_PX} if len(series) > 1 else {}
    totals = [sum(values[part.name][i] for part in series) for i in range(len(labels))]
    ends = [{"label": a, "value": b, "text": compact(b) if b else ""} for a, b in zip(labels, totals, strict=True)]
    has_room = max(width_px(compact(b)) for b in totals) <= (WIDTH - _COUNT_AXIS_PX) / len(totals)
    if has_room:  # above the highest column too
        y["scale"] = {"domainMax": max(totals) * (1 + TEXT_PX * 1.5 / _COLUMNS_PX)}
    numbers = {"data": {"values": ends}, "mark": {"type": "text", "dy": -7}, "encoding": {"text": {"field": "text"}}}
    columns = {
        "mark": {"type": "bar", **(_EDGE if len(series) > 1 else {})},
        "encoding": {"order": _ORDER, "color": _colors(series, WIDTH - _COUNT_AXIS_PX), **edge},
    }
    return _spec(
        _stacked(labels, series, values),
        height=_COLUMNS_PX,
        encoding={"x": x, "y": y},
        layer=[columns, *([numbers] if has_room else [])],
    )


def draw_heat_map(cells: Sequence[tuple[str, str, int, str]]) -> Spec:
    """A table of coloured cells: column, row, number, its text."""
    most = max((number for _, _, number, _ in cells), default=0) or 1
    rows = [{"x": x, "label": y, "value": number / most, "text": text} for x, y, number, text in cells]
    fill = {"field": "value", "type": "quantitative", "legend": None, "scale": {"scheme": "blues", "domain": [0, 1]}}
    # What is empty is no cell: on a dark page a pale one would be the brightest.
    ink = {
        "condition": [
            {"test": "datum.value == 0", "value": _INK},
            {"test": f"datum.value > {_DARK_CELL}", "value": "white"},
        ],
        "value": "black",
    }
    filled = {"condition": {"test": "datum.value > 0", "value": 1}, "value": 0}
    x_axis = {"title": None, "orient": "top", "labelAngle": 0, "labelLimit": 0, "domain": False}
    return _spec(
        rows,
        height={"step": _CELL_PX},
        encoding={
            "x": {"field": "x", "type": "nominal", "sort": None, "axis": x_axis},
            "y": _rows_axis([label for _, label, _, _ in cells]),
        },
        layer=[
            {"mark": {"type": "rect", "cornerRadius": 2}, "encoding": {"color": fill, "opacity": filled}},
            {"mark": {"type": "text"}, "encoding": {"text": {"field": "text"}, "color": ink}},
        ],
    )


def _spec(rows: Sequence[Mapping[str, Any]], **parts: Any) -> Spec:  # noqa: ANN401  members of a specification
    return {
        "$schema": "https://vega.github.io/schema/vega-lite/v6.json",
        "width": WIDTH,
        "autosize": {"type": "fit-x", "contains": "padding"},
        "padding": 2,
        "data": {"values": list(rows)},
        **parts,
        "config": _CONFIG,
    }


def _stacked(
    labels: Sequence[str], series: Sequence[Series], values: Mapping[str, Sequence[int]]
) -> list[dict[str, Any]]:
    return [
        {"label": label, "part": part.name, "order": order, "value": values[part.name][i]}
        for i, label in enumerate(labels)
        for order, part in enumerate(series)
    ]


def _colors(series: Sequence[Series], legend_px: float) -> dict[str, Any]:
    """The colour of each part; of several the legend too, in as many columns as fit."""
    scale = {"domain": [part.name for part in series], "range": [part.color for part in series]}
    widest = max((width_px(part.name) for part in series), default=0) + _SYMBOL_PX
    columns = max(1, int(legend_px // widest))
    legend = {"title": None, "orient": "top", "columns": columns, "offset": 12} if len(series) > 1 else None
    return {"field": "part", "type": "nominal", "scale": scale, "legend": legend}


def _rows_axis(labels: Sequence[str]) -> dict[str, Any]:
    axis = {"title": None, "domain": False, "labelLimit": 0, "labelPadding": 6, "minExtent": _extent_px(labels)}
    return {"field": "label", "type": "nominal", "sort": None, "axis": axis}


def _extent_px(labels: Sequence[str]) -> float:
    return max((width_px(label) for label in labels), default=0) + 8


def _lengths(labels: Sequence[str], values: Sequence[float], texts: Sequence[str]) -> dict[str, Any]:
    """The axis of bars that leaves room right of the longest for its number."""
    scale = {"domain": [0, _edge(values, WIDTH - _extent_px(labels), texts)], "nice": False}
    return {"field": "value", "type": "quantitative", "axis": None, "scale": scale}


def _edge(values: Sequence[float], room: float, texts: Sequence[str]) -> float:
    """The value at the edge of the room of bars, so that the longest one's number has room beside it."""
    text = max((width_px(text) for text in texts), default=0) + 8
    return (max(values, default=0) or 1) * room / max(room - text, room / 4)


def _inside(series: Sequence[Series]) -> Spec:
    """Numbers in the middle of stacked parts, in the ink that is read on each colour."""
    dark = " || ".join(f"datum.part == {part.name!r}" for part in series if part.color in _DARK) or "false"
    return {
        "mark": {"type": "text"},
        "encoding": {
            "x": {"field": "value", "type": "quantitative", "stack": "zero", "bandPosition": 0.5},
            "text": {"field": "number"},
            "order": _ORDER,
            "detail": {"field": "part"},
            "color": {"condition": {"test": dark, "value": "white"}, "value": "black"},
        },
    }


def _fitting(labels: Sequence[str]) -> list[str]:
    """As many labels, evenly apart, as have room below columns."""
    widest = max((width_px(label) for label in labels), default=0) + _GAP_PX
    every = math.ceil(len(labels) * widest / (WIDTH - _COUNT_AXIS_PX)) or 1
    # Wide labels would reach out of the drawing below the first and the last column.
    first = every // 2 if widest > _WIDE_LABEL_PX else 0
    return list(labels[first::every])


_BAR = {"type": "bar", "height": {"band": 0.68}}
_OWN_COLOR = {"field": "color", "type": "nominal", "scale": None}
_NUMBERS: Spec = {"mark": {"type": "text", "align": "left", "dx": 5}, "encoding": {"text": {"field": "text"}}}
# By an expression, because a format is applied with one unit for all ticks: 0k, 0.5k.
_COUNT_AXIS = {
    "title": None,
    "labelExpr": "format(datum.value, '~s')",
    "tickCount": 4,
    "tickMinStep": 1,
    "minExtent": _COUNT_AXIS_PX - 5,
}
# Neighbours differ in more than colour; what is empty has no edge.
_ORDER = {"field": "order", "type": "quantitative"}
_EDGE = {"stroke": _INK, "strokeOpacity": 0.5}
_EDGE_PX = {"condition": {"test": "datum.value > 0", "value": 0.5}, "value": 0}
_CONFIG: dict[str, Any] = {
    "aria": False,
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": None},
    "axis": {
        "labelColor": _INK,
        "labelFontSize": TEXT_PX,
        "titleColor": _INK,
        "titleFontSize": TEXT_PX,
        "titleFontWeight": "normal",
        "titlePadding": 8,
        "gridColor": _INK,
        "gridOpacity": 0.15,
        "domainColor": _INK,
        "domainOpacity": 0.4,
        "ticks": False,
        "labelPadding": 6,
    },
    "legend": {"labelColor": _INK, "labelFontSize": TEXT_PX, "symbolType": "square", "symbolStrokeWidth": 0},
    "text": {"color": _INK, "fontSize": TEXT_PX},
}
