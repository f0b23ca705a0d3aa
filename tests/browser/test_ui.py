"""The Dagster UI as an operator sees it, from the server that `make ui` starts: a run that succeeds, one that fails."""

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psycopg
import pytest
from playwright.sync_api import Browser, Page, expect
from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

from pipelines.checks.definitions import table_checks
from pipelines.contracts.tables import DOMAIN_EXPORTS
from pipelines.snapshots.opening import Snapshot, published_snapshot
from tests.browser.kit import PATIENCE_MS, Server, allow_connections, keep_screenshot, serve_ui
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import create_source_tables, load_csv_dir

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.extended]

SAMPLE = Path(__file__).resolve().parents[2] / "pipelines" / "sample" / "data"
PLOTS = ["Domains over time", "Domains per batch", "Primary LEI", "Candidates per domain", "Confidence"]
# Forty weeks of the sample: every row again, in a batch of its week.
COPIES = 40
ID_STEP = 1_000_000
MULTIPLY = (
    """
    INSERT INTO domains SELECT (jsonb_populate_record(d, jsonb_build_object(
        'id', d.id + week * {step}, 'batch_id', d.batch_id || '-' || week,
        'created_at', d.created_at + week * interval '7 days', 'domain', 'w' || week || '.' || d.domain,
        'domain_hash', NULL))).*
    FROM domains AS d, generate_series(1, {copies}) AS week
    """,
    """
    INSERT INTO gleif_candidates SELECT (jsonb_populate_record(c, jsonb_build_object(
        'id', c.id + week * {step}, 'domain_id', c.domain_id + week * {step}))).*
    FROM gleif_candidates AS c, generate_series(1, {copies}) AS week
    """,
)


@pytest.fixture(scope="module")
def source(cluster: Cluster) -> Iterator[Database]:
    with cluster.new_database() as database:
        yield database


@pytest.fixture(scope="module")
def server(
    cluster: Cluster, source: Database, browser: Browser, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Server]:
    """Its source can be reached only when the sensor is off: that would start a run at once."""
    assert browser.is_connected()
    allow_connections(cluster, source, "false")
    with serve_ui(source.url, tmp_path_factory.mktemp("ui")) as running:
        running.stop_schedule()
        running.stop_sensor()
        allow_connections(cluster, source, "true")
        with source.connect() as connection:
            create_source_tables(connection)
            load_csv_dir(connection, SAMPLE)
            multiply(connection)
        yield running


def multiply(connection: psycopg.Connection) -> None:
    for statement in MULTIPLY:
        connection.execute(statement.format(step=ID_STEP, copies=COPIES).encode())


@pytest.fixture(scope="module")
def page(browser: Browser, server: Server) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1400, "height": 900}, base_url=server.url)
    opened.set_default_timeout(PATIENCE_MS)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def first_run(page: Page, server: Server) -> str:
    """Id of the run that publishes everything, by a click."""
    assert "Warning" not in server.log.read_text(), "Dagster starts without a warning"
    materialize_all(page)
    run_id, status = server.wait_for_run(1)
    assert status == "SUCCESS"
    return run_id


def materialize_all(page: Page) -> None:
    page.goto("/asset-groups")
    button = page.get_by_role("button", name="Materialize all")
    expect(button).to_be_enabled(timeout=PATIENCE_MS)
    open_all_groups(page)
    button.click()


def open_menu_of_materialize_all(page: Page) -> None:
    """A click on the arrow beside the button opens it; the page, drawn again meanwhile, closes it or is deaf."""
    arrow = page.get_by_role("button", name="Materialize all").locator("xpath=following::button[1]")
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while time.monotonic() < deadline:
        arrow.click()
        with suppress(PlaywrightTimeoutError):
            page.get_by_role("menuitem", name="Open launchpad").wait_for(timeout=4_000)
            return
    pytest.fail("the menu did not open")


def open_all_groups(page: Page) -> None:
    """Alt+E opens all groups of the graph, or closes them where they are open from the last visit."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    asset = page.get_by_text("unique_domains").first
    while time.monotonic() < deadline:
        with suppress(PlaywrightTimeoutError):
            asset.wait_for(timeout=4_000)
            return
        page.keyboard.press("Alt+e")
    pytest.fail("the groups did not open")


def current(server: Server) -> Snapshot:
    return published_snapshot(server.export_dir)


def words(text: str) -> str:
    """Text as the page shows it: Markdown's marks gone, white space as one blank."""
    return " ".join(text.replace("`", "").split())


def page_with(page: Page, *texts: str) -> str:
    """The words of the page, once all of these are among them: its parts come one after the other."""
    deadline = time.monotonic() + PATIENCE_MS / 1000
    while True:
        shown = words(page.inner_text("body"))
        missing = [text for text in texts if words(text) not in shown]
        if not missing:
            return shown
        assert time.monotonic() < deadline, missing
        page.wait_for_timeout(200)


@pytest.mark.parametrize("job", ["export", "full_refresh", "export_batch"])
def test_the_launchpad_is_where_the_documents_say_and_explains_its_config(page: Page, job: str) -> None:
    page.goto(f"/locations/lei-exports/jobs/{job}")
    if job == "export_batch":
        page.get_by_role("tab", name="Launchpad").or_(page.get_by_role("link", name="Launchpad")).first.click()
        reported = "The settings (docs/settings.md), read from the environment when a run starts."
    else:
        open_menu_of_materialize_all(page)
        page.get_by_role("menuitem", name="Open launchpad").click()
        reported = f"full_refresh: {str(job == 'full_refresh').lower()}"
    shown = page_with(page, reported)
    assert not re.search(r"\b[A-Z]{5,6} \d\b", shown), "no section of a document for maintainers"
    keep_screenshot(page, f"ui-launchpad-{job}")


def test_what_a_click_materializes_is_is_told_and_then_a_check_fails(
    page: Page, server: Server, source: Database, first_run: str
) -> None:
    assert_an_asset_tells_everything(page, server, first_run)
    assert_a_failed_check_is_red_and_gives_its_reason(page, server, source)


def assert_an_asset_tells_everything(page: Page, server: Server, first_run: str) -> None:
    page.goto("/asset-groups")
    expect(page.get_by_role("button", name="Materialize all")).to_be_enabled(timeout=PATIENCE_MS)
    open_all_groups(page)
    keep_screenshot(page, "ui-graph", settle_ms=6000)
    page.goto(f"/runs/{first_run}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=PATIENCE_MS)

    page.goto("/assets/exports/domain_exports")
    rows = current(server).record_of("domain_exports").rows
    expect(page.get_by_text(f"{rows:,}", exact=True)).to_be_visible(timeout=PATIENCE_MS)
    columns = DOMAIN_EXPORTS.column_descriptions
    lineage = ("staging / domains", "staging / gleif_candidates")
    shown = page_with(page, *columns, *columns.values(), *lineage)
    upstream = shown[shown.index("Upstream assets") : shown.index("Downstream assets")]
    assert all(asset in upstream for asset in lineage)
    page.get_by_text("[Show Markdown]").click()
    images = page.get_by_role("dialog").locator("img[alt]")  # icons have none
    expect(images).to_have_count(len(PLOTS), timeout=PATIENCE_MS)
    assert [image.get_attribute("alt") for image in images.all()] == PLOTS
    assert all(image.evaluate("image => image.complete && image.naturalWidth") > 300 for image in images.all())
    keep_screenshot(page, "ui-asset")

    page.goto("/assets/exports/domain_exports?view=checks")
    for check in table_checks(DOMAIN_EXPORTS):
        expect(page.get_by_text(check.name, exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    checks = current(server).record_of("domain_exports").checks
    assert {check.severity for check in checks if not check.passed} == {"warn"}, "the sample has something to warn of"
    keep_screenshot(page, "ui-checks", settle_ms=3000)
    passed = next(check.name for check in checks if check.passed)
    page.goto(f"/assets/exports/domain_exports?view=checks&checkDetail={passed}")
    expect(page.get_by_text("Passed", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    page.goto("/assets/exports/domain_exports?view=checks&checkDetail=source_hash_agrees")
    expect(page.get_by_text("first_domain_ids", exact=True).first).to_be_visible(timeout=PATIENCE_MS)

    page.goto("/assets/published/snapshot")
    report = current(server).folder / "report.html"
    expect(page.get_by_text(str(report)).first).to_be_visible(timeout=PATIENCE_MS)


def assert_a_failed_check_is_red_and_gives_its_reason(page: Page, server: Server, source: Database) -> None:
    before = current(server)
    with source.connect() as connection:
        connection.execute("DELETE FROM domains WHERE id > 2000000")
    materialize_all(page)
    run_id, status = server.wait_for_run(2)
    assert status == "FAILURE"
    assert current(server).manifest == before.manifest

    page.goto("/assets/staging/domains?view=checks&checkDetail=source_not_shrunk")
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    expect(page.get_by_text("rows_before", exact=True).first).to_be_visible(timeout=PATIENCE_MS)
    rows = before.manifest.source.relations["domains"].rows
    shown = page_with(page, f"rows_before {rows}", "rows_now")
    assert re.search(r"rows_now \d+", shown)
    keep_screenshot(page, "ui-failed-check")
    page.goto(f"/runs/{run_id}")
    expect(page.get_by_text(re.compile("--accept-shrink")).first).to_be_visible(timeout=PATIENCE_MS)
