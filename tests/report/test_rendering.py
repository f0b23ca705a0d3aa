"""Plots for Dagster's pages, and every drawing against Vega-Lite's own schema."""

import base64
import re

import altair as alt
import pytest

from pipelines.report.charts import TEXT_PX, WIDTH
from pipelines.report.drawing import inline_svg
from pipelines.report.figures import compare_figures, measure_tables
from pipelines.report.rendering import plots_for
from pipelines.report.runs import show_batch_changes, show_timings
from pipelines.report.sections import Section, candidate_sections, domain_sections, reject_sections
from tests.report.kit import Frames, batches, empty, hostile, lazy, manifest_of, ordinary

pytestmark = pytest.mark.fast

MAX_BYTES = 50_000
PLOT = re.compile(r"### ([A-Za-z, ]+)\n\n!\[\1\]\(data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)\)")
PLOTS = {
    "domain_exports": ["over_time", "batches", "primaries", "candidates_per_domain", "confidence"],
    "candidate_exports": ["jurisdictions", "statuses"],
    "rejected_rows": ["rejects"],
    "snapshot": ["over_time", "primaries", "jurisdictions", "rejects", "timings"],
    "entities": [],
}


def sections_of(frames: Frames) -> list[Section]:
    now, before = batches(a=3, b=None), batches(a=10**9)
    figures = compare_figures(measure_tables(lazy(frames)), now.lazy(), before.lazy(), None)
    assert figures.changes is not None
    sections = [
        show_batch_changes(figures.changes),
        *domain_sections(figures),
        *candidate_sections(figures),
        *reject_sections(figures),
    ]
    return [*sections, show_timings(manifest_of(frames))]


@pytest.mark.parametrize("table", PLOTS)
@pytest.mark.parametrize("make", [ordinary, hostile])
def test_plots_are_small_images(make: type, table: str) -> None:
    frames = make()
    plots = plots_for(table, measure_tables(lazy(frames)), manifest_of(frames))
    if make is ordinary:
        assert list(plots) == [f"plot_{name}" for name in PLOTS[table]]
    for markdown in plots.values():
        found = PLOT.fullmatch(markdown)
        assert found is not None
        assert len(markdown) < MAX_BYTES
        assert base64.b64decode(found[2]).startswith(b"<svg")


def test_what_changed_is_the_first_plot_of_the_snapshot() -> None:
    frames, now = ordinary(), batches(a=3, b=None)
    figures = compare_figures(measure_tables(lazy(frames)), now.lazy(), batches(a=2).lazy(), None)
    plots = plots_for("snapshot", figures, manifest_of({**frames, "batch_summaries": now}))
    assert list(plots) == [f"plot_{name}" for name in ("changes_by_kind", *PLOTS["snapshot"])]
    assert all(PLOT.fullmatch(markdown) for markdown in plots.values())


@pytest.mark.parametrize("table", PLOTS)
def test_no_plot_of_nothing(table: str) -> None:
    assert plots_for(table, measure_tables(lazy(empty()))) == {}
    assert plots_for(table, measure_tables({})) == {}


@pytest.mark.parametrize("make", [ordinary, hostile])
def test_drawings_keep_the_schema_of_vega_lite(make: type) -> None:
    for section in sections_of(make()):
        if section.chart is not None:
            kind = alt.LayerChart if "layer" in section.chart else alt.Chart
            kind.from_dict(section.chart, validate=True)


@pytest.mark.parametrize("make", [ordinary, hostile])
def test_drawings_fit_a_phone_and_take_the_colour_of_the_page(make: type) -> None:
    for section in sections_of(make()):
        if section.chart is None:
            continue
        svg = inline_svg(section.chart, "a & b")
        box = re.search(r'viewBox="0 0 ([0-9.]+) ([0-9.]+)"', svg)
        assert box is not None
        assert float(box[1]) <= WIDTH + 10, section.name
        assert float(box[2]) < 500, section.name
        assert {int(size) for size in re.findall(r'font-size="(\d+)px"', svg)} == {TEXT_PX}
        assert set(re.findall(r'<text[^>]* fill="([^"]+)"', svg)) <= {"currentColor", "black", "white"}
        assert 'aria-label="a &amp; b"' in svg


def test_drawings_have_no_ids_that_could_meet_on_a_page() -> None:
    for section in sections_of(hostile()):
        if section.chart is not None:
            svg = inline_svg(section.chart, "x")
            assert " id=" not in svg
            assert "url(" not in re.sub(">[^<]*<", "><", svg)
