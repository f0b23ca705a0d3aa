"""Domains over time: into a few dozen equal periods, however long or short the whole is."""

from datetime import datetime, timedelta
from typing import NamedTuple

import polars as pl

STARTS_AT = "starts_at"
MAX_PERIODS = 36
# Polars duration, roughly how long, and how a period's start is written.
_PERIODS = (
    ("1h", timedelta(hours=1), "%Y-%m-%d %Hh"),
    ("6h", timedelta(hours=6), "%Y-%m-%d %Hh"),
    ("1d", timedelta(days=1), "%Y-%m-%d"),
    ("1w", timedelta(days=7), "%Y-%m-%d"),
    ("1mo", timedelta(days=30), "%Y-%m"),
    ("1q", timedelta(days=91), "%Y-%m"),
    ("1y", timedelta(days=365), "%Y"),
    ("10y", timedelta(days=3652), "%Y"),
    ("100y", timedelta(days=36524), "%Y"),
)
_NAMES = {"1h": "hour", "6h": "6 hours", "1d": "day", "1w": "week", "1mo": "month", "1q": "quarter", "1y": "year"}
# Python's years, but the first and the last: periods reach beyond the rows.
_YEARS = (2, 9998)
_TAIL = 0.005
# Stray dates (1970, a typing error) are set apart where the rest then needs less than this share of the axis.
_WORTH_CUTTING = 0.2


class Timeline(NamedTuple):
    """Counts per period.

    Attributes:
        periods: STARTS_AT (Datetime), label, short (String, for an axis) and the counts; no period
            between first and last is missing.
        period: How long one is, in words.
        undated: Rows without a time.
        before: Rows before the first period, which would have stretched the axis.
        after: Rows after the last one.
    """

    periods: pl.DataFrame
    period: str
    undated: int
    before: int
    after: int


def to_timeline(hours: pl.DataFrame, counts: list[str]) -> Timeline:
    """Put counts per hour into periods.

    Args:
        hours: STARTS_AT (Datetime, may be NULL), `rows`, and `counts`.
        counts: Columns to add up; `rows` among them.
    """
    undated = int(hours.filter(pl.col(STARTS_AT).is_null())["rows"].sum())
    dated = hours.drop_nulls(STARTS_AT).sort(STARTS_AT)
    # PostgreSQL knows years that Python does not: such rows are strays, before or after all others.
    year = pl.col(STARTS_AT).dt.year()
    first, last = _range(dated.filter(year.is_between(*_YEARS)))
    shown = dated.filter(pl.col(STARTS_AT).is_between(first, last)) if first and last else dated.clear()
    before = int(dated.filter(pl.col(STARTS_AT) < first if first else year < _YEARS[0])["rows"].sum())
    after = int(dated.filter(pl.col(STARTS_AT) > last if last else year > _YEARS[1])["rows"].sum())
    every, form = _period(first, last)
    periods = (
        shown.group_by(pl.col(STARTS_AT).dt.truncate(every)).agg(pl.col(counts).sum()).sort(STARTS_AT)
        if shown.height
        else shown.select(STARTS_AT, *counts)
    )
    if periods.height > 1:
        periods = periods.upsample(STARTS_AT, every=every).with_columns(pl.col(counts).fill_null(0))
    name = _NAMES.get(every, every.replace("y", " years"))
    label = pl.col(STARTS_AT).dt.strftime(form)
    # Within one year the axis leaves it to its title.
    is_one_year = periods[STARTS_AT].dt.year().n_unique() == 1 and form.startswith("%Y-")
    short = label.str.slice(5) if is_one_year else label
    if is_one_year:
        name = f"{name}, {periods[STARTS_AT].dt.year()[0]}"
    return Timeline(periods.with_columns(label.alias("label"), short.alias("short")), name, undated, before, after)


def _range(dated: pl.DataFrame) -> tuple[datetime | None, datetime | None]:
    """First and last hour to show: all of them, or those of all rows but a few strays far away."""
    if dated.is_empty():
        return None, None
    first, last = dated[STARTS_AT][0], dated[STARTS_AT][-1]
    reached = dated.select(STARTS_AT, done=pl.col("rows").cum_sum() / pl.col("rows").sum())
    inner_first = reached.filter(pl.col("done") > _TAIL)[STARTS_AT][0]
    inner_last = reached.filter(pl.col("done") >= 1 - _TAIL)[STARTS_AT][0]
    inner = inner_last - inner_first
    if inner < (last - first) * _WORTH_CUTTING:
        # What is near belongs to it; only what is far away is a stray.
        near = dated.filter(pl.col(STARTS_AT).is_between(_earlier(inner_first, inner), _later(inner_last, inner)))
        return near[STARTS_AT][0], near[STARTS_AT][-1]
    return first, last


def _earlier(at: datetime, span: timedelta) -> datetime:
    return at - span if at - datetime.min > span else datetime.min  # noqa: DTZ901  tables are UTC without zone


def _later(at: datetime, span: timedelta) -> datetime:
    return at + span if datetime.max - at > span else datetime.max  # noqa: DTZ901  tables are UTC without zone


def _period(first: datetime | None, last: datetime | None) -> tuple[str, str]:
    span = last - first if first and last else timedelta(0)
    for every, length, form in _PERIODS:
        if span / length < MAX_PERIODS - 1:
            return every, form
    return _PERIODS[-1][0], _PERIODS[-1][2]
