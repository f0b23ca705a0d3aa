"""report.html as a reader sees it: from disk, without a network, on a phone and on a desk, light and dark."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from pipelines.export import run_export
from pipelines.snapshots.opening import published_snapshot
from tests.browser.kit import keep_screenshot
from tests.exporting import settings_for
from tests.oracle.postgres import Cluster
from tests.oracle.source import create_source_tables, load_csv_dir

pytestmark = [pytest.mark.integration, pytest.mark.extended]

SAMPLE = Path(__file__).resolve().parents[2] / "pipelines" / "sample" / "data"
CHARTS = [
    "Domain rows by kind, since then",
    "Rows",
    "Rejected rows",
    "Warnings",
    "Time to read, build and verify",
    "Size of the data",
    "Domains over time",
    "Domains per batch",
    "Primary LEI",
    "Candidates per domain",
    "Confidence",
    "Jurisdictions",
    "GLEIF status",
    "Rejected rows by reason",
    "Time per stage",
]
PHONE, NARROW, DESK = 390, 320, 1280
LEAST_TEXT_PX = 10
# WCAG 2.2: text, level AA.
LEAST_CONTRAST = 4.5
CHANGE = b"""
    UPDATE domains SET status = 'failed', batch_id = 'WWWW-MMMM-wwww-mmmm-W' WHERE id % 10 = 3
"""
CONTRASTS = """selectors => {
    const channels = color => color.match(/[0-9.]+/g).map(Number);
    const luminance = color => channels(color).slice(0, 3)
        .map(c => c / 255).map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
        .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
    const ground = element => {
        const color = getComputedStyle(element).backgroundColor, found = channels(color);
        return found.length < 4 || found[3] > 0 ? color : ground(element.parentElement);
    };
    return selectors.map(selector => {
        const element = document.querySelector(selector);
        const [a, b] = [luminance(getComputedStyle(element).color), luminance(ground(element))];
        return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    });
}"""


@pytest.fixture(scope="module")
def report(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of the report of a second snapshot: some rows failed since the first, in a batch of a broad name."""
    export_dir = tmp_path_factory.mktemp("report")
    with cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            load_csv_dir(connection, SAMPLE)
        run_export(settings_for(database, export_dir), with_report=True)
        with database.connect() as connection:
            connection.execute(CHANGE)
        run_export(settings_for(database, export_dir), with_report=True)
    snapshot = published_snapshot(export_dir)
    assert snapshot.manifest.sequence == 2
    return (snapshot.folder / "report.html").as_uri()


@pytest.fixture(params=[(PHONE, "light"), (PHONE, "dark"), (NARROW, "light"), (DESK, "dark")], ids=str)
def page(request: pytest.FixtureRequest, browser: Browser, report: str) -> Iterator[Page]:
    width, scheme = request.param
    context = browser.new_context(viewport={"width": width, "height": 844}, color_scheme=scheme)
    opened = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    opened.on("request", lambda asking: asked.append(asking.url))
    opened.on("console", lambda message: said.append(message.text))
    opened.goto(report)
    keep_screenshot(opened, f"report-{width}-{scheme}", settle_ms=0)
    yield opened
    assert asked == [report], "nothing is loaded but the page itself"
    assert said == [], "the browser has nothing to complain of"
    context.close()


def chart(page: Page, title: str) -> Locator:
    return page.get_by_role("img", name=re.compile(rf"^{re.escape(title)}\. .+"))


def assert_fits(page: Page) -> None:
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")


def test_every_chart_is_there_and_readable(page: Page) -> None:
    assert_fits(page)
    width = page.evaluate("document.documentElement.clientWidth")
    assert page.get_by_role("img").count() == len(CHARTS)
    for title in CHARTS:
        drawing = chart(page, title)
        expect(drawing).to_be_visible()
        box = drawing.bounding_box()
        assert box is not None
        assert 0 <= box["x"] < box["x"] + box["width"] <= width, title
        assert box["height"] > 45, title
        texts = drawing.locator("text")
        assert texts.count() >= 4, title
        scale = box["width"] / float((drawing.get_attribute("viewBox") or "").split()[2])
        assert 12 * scale >= LEAST_TEXT_PX, title
        for left, right in texts.evaluate_all(
            "all => all.map(t => t.getBoundingClientRect()).map(r => [r.left, r.right])"
        ):
            assert box["x"] - 1 <= left, f"a text of {title} is cut at the left"
            assert right <= box["x"] + box["width"] + 1, f"a text of {title} is cut at the right"


def test_what_changed_is_seen_whole(page: Page) -> None:
    width = page.evaluate("document.documentElement.clientWidth")
    table = page.get_by_role("table", name="Rows per table")
    for header in table.get_by_role("columnheader").all():
        box = header.bounding_box()
        assert box is not None
        assert box["x"] + box["width"] <= width


def test_the_figures_open_by_keyboard(page: Page) -> None:
    card = page.locator("#jurisdictions")
    figures = card.get_by_role("table", name="Jurisdictions")
    expect(figures).to_be_hidden()
    card.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(figures).to_be_visible()
    assert_fits(page)


def test_text_stands_out_from_its_ground(page: Page) -> None:
    kinds = [
        "h1",
        ".kicker",
        ".tiles dt",
        ".chart",
        ".card p",
        "summary",
        "th",
        ".passed .verdict",
        ".warning .verdict",
    ]
    kinds += [".why", "footer"]
    contrasts = dict(zip(kinds, page.evaluate(CONTRASTS, kinds), strict=True))
    assert {kind: contrast for kind, contrast in contrasts.items() if contrast < LEAST_CONTRAST} == {}
