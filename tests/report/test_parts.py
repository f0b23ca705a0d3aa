"""The parts of the report that have rules of their own: texts, periods, statuses."""

from datetime import datetime, timedelta

import polars as pl
import pytest

from pipelines.contracts.source import KNOWN_STATUSES
from pipelines.report import texts
from pipelines.report.charts import BLUE, PURPLE, SKY, VERMILLION, YELLOW
from pipelines.report.figures import STATUSES, measure_tables
from pipelines.report.sections import show_jurisdictions
from pipelines.report.timeline import MAX_PERIODS, STARTS_AT, to_timeline
from tests.report.kit import HOSTILE, frames_of, lazy

pytestmark = pytest.mark.fast

NBSP = "\u00a0"
BEGIN = datetime(2026, 3, 1)  # noqa: DTZ001  tables are UTC without zone


def hours(*at: datetime | None, rows: int = 1) -> pl.DataFrame:
    schema = {STARTS_AT: pl.Datetime("us"), "rows": pl.Int64}
    return pl.DataFrame({STARTS_AT: list(at), "rows": [rows] * len(at)}, schema=schema)


def test_statuses_are_those_of_the_contract() -> None:
    assert set(STATUSES) == set(KNOWN_STATUSES)


def test_colours_are_of_the_palette_of_okabe_and_ito() -> None:
    palette = {"#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7"}
    assert {BLUE, VERMILLION, SKY, YELLOW, PURPLE} <= palette


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "(none)"),
        ("", "(none)"),
        (" \u00a0\t", "(none)"),
        ("a\nb\u2028c", "a b c"),
        ("a\u202eb", "a\ufffdb"),
        ("e\u0301", "\u00e9"),
        ("a" + "\u0335" * 50, "a\u0335\u0335"),
        ("x" * 41, "x" * 39 + "…"),
        ("x" * 40, "x" * 40),
        ("x" + " " * 200 + "y", "x…"),
    ],
)
def test_plain(text: str | None, expected: str) -> None:
    assert texts.plain(text) == expected


def test_labels_of_different_values_differ() -> None:
    labels = texts.distinct_labels([*HOSTILE, None, "W" * 50, "W" * 60], 16)
    assert len(set(labels)) == len(HOSTILE) + 3
    assert texts.distinct_labels(["a (2)", "a", "a\x00"[:1], "a"]) == ["a (2)", "a", "a (3)", "a (4)"]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(0, "0"), (999, "999"), (1000, "1k"), (4_715_770, "4.72M"), (999_999, "1M"), (12, "12"), (1.25, "1.25")],
)
def test_compact(number: float, expected: str) -> None:
    assert texts.compact(number) == expected


def test_labels_of_wide_letters_get_more_room() -> None:
    """A batch id of wide letters was cut at the edge of its drawing."""
    assert texts.width_px("W" * 16) > 16 * 11.8
    assert texts.width_px("i" * 16) < 16 * 5.1
    assert texts.width_px("\u4e2d") > 12


def test_shares_never_round_to_none_or_all() -> None:
    assert texts.share(0, 0) == f"0{NBSP}%"
    assert texts.share(1, 10**6) == f"< 0.1{NBSP}%"
    assert texts.share(10**6 - 1, 10**6) == f"> 99.9{NBSP}%"
    assert texts.share(10**6, 10**6) == f"100{NBSP}%"
    assert texts.share(1, 3) == f"33.3{NBSP}%"


@pytest.mark.parametrize(
    ("span", "period"),
    [
        (timedelta(0), "hour, 2026"),
        (timedelta(hours=30), "hour, 2026"),
        (timedelta(hours=40), "6 hours, 2026"),
        (timedelta(days=20), "day, 2026"),
        (timedelta(days=100), "week, 2026"),
        (timedelta(days=900), "month"),
        (timedelta(days=3000), "quarter"),
        (timedelta(days=9000), "year"),
        (timedelta(days=100_000), "10 years"),
        (timedelta(days=1_000_000), "100 years"),
    ],
)
def test_periods_suit_the_span_and_none_is_missing(span: timedelta, period: str) -> None:
    timeline = to_timeline(hours(BEGIN, BEGIN + span), ["rows"])
    assert timeline.period == period
    assert timeline.periods["rows"].sum() == 2
    assert timeline.periods.height <= MAX_PERIODS + 1
    gaps = timeline.periods[STARTS_AT].diff().drop_nulls()
    if gaps.len():
        assert gaps.max() <= gaps.min() * 1.2  # type: ignore[operator]  months and years differ in length


def test_stray_dates_do_not_stretch_the_axis() -> None:
    many = [BEGIN + timedelta(hours=hour) for hour in range(1000)]
    frame = pl.concat([hours(datetime(1970, 1, 1), datetime(2200, 1, 1), None), hours(*many, rows=5)])  # noqa: DTZ001
    timeline = to_timeline(frame, ["rows"])
    assert timeline.period == "week, 2026"
    assert (timeline.undated, timeline.before, timeline.after) == (1, 1, 1)
    assert timeline.periods["rows"].sum() == 5000


def test_nothing_has_no_periods() -> None:
    timeline = to_timeline(hours(), ["rows"])
    assert timeline.periods.is_empty()
    assert to_timeline(hours(None), ["rows"]).undated == 1


def test_many_jurisdictions_are_added_up() -> None:
    candidates = [{"candidate_id": n, "domain_id": n, "jurisdiction": f"J{n % 150}"} for n in range(310)]
    figures = measure_tables(lazy(frames_of([], candidates, [])))
    assert figures.candidates is not None
    table = show_jurisdictions(figures.candidates).table
    assert table.height == 101
    assert table["jurisdiction"][-1] == "50 others"
    assert table["candidates"].sum() == 310
