"""Draws the pictures of docs/images that show the product: `.venv/bin/python -m tests.docs.draw_pictures`.

Needs Chromium. Run it after the report or the Dagster UI changed, and look at each picture.
"""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from playwright.sync_api import Browser, Page

from pipelines.snapshots.opening import published_snapshot
from tests.browser.kit import open_browser, serve_ui
from tests.docs.kit import PLACES, ROOT
from tests.forking import LEI_EXPORTS
from tests.integration.kit import run_sql
from tests.oracle.prepared import begin_run, end_run
from tests.oracle.server import cluster_of_run
from tests.oracle.source import create_source_tables, load_csv_dir

SAMPLE = ROOT / "pipelines" / "sample" / "data"
IMAGES = ROOT / "docs" / "images"
PATIENCE_MS = 60_000


def keep(page: Page, name: str, settle_ms: int = 0) -> None:
    """Write `<name>.png`, once the page has come to rest: charts and the graph of Dagster's pages are drawn late."""
    page.wait_for_timeout(settle_ms)
    page.screenshot(path=IMAGES / f"{name}.png")


def lei_exports(folder: Path, *arguments: str) -> None:
    """Run the program on the sample, with folders of its own."""
    places = {name: str(folder / place) for name, place in PLACES.items()}
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    command = [str(LEI_EXPORTS), *arguments]
    subprocess.run(command, env={**environment, **places}, check=True, stdout=subprocess.DEVNULL)


def draw_report(browser: Browser, folder: Path) -> None:
    """The report of a second snapshot: some rows of the sample failed since the first."""
    changed = folder / "changed"
    changed.mkdir()
    domains = (SAMPLE / "domains.csv").read_text(encoding="utf-8")
    (changed / "domains.csv").write_text(domains.replace(",success,", ",failed,", 5), encoding="utf-8")
    (changed / "gleif_candidates.csv").write_bytes((SAMPLE / "gleif_candidates.csv").read_bytes())
    lei_exports(folder, "run")
    lei_exports(folder, "sample", "load", "--from", str(changed))
    lei_exports(folder, "run")
    snapshot = published_snapshot(folder / PLACES["EXPORT_DIR"])
    assert snapshot.manifest.sequence > 1
    page = browser.new_page(viewport={"width": 1280, "height": 1330})
    page.goto((snapshot.folder / "report.html").as_uri())
    keep(page, "report-desk", settle_ms=500)
    page.close()


def draw_ui(browser: Browser, folder: Path) -> None:
    """The pages of the Dagster UI after the sensor's first run, then after a run that a check stopped."""
    begun = begin_run()
    with cluster_of_run() as cluster, cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            load_csv_dir(connection, SAMPLE)
        with serve_ui(database.url, folder) as server:
            assert server.wait_for_run(1)[1] == "SUCCESS"
            page = browser.new_page(viewport={"width": 1400, "height": 840}, base_url=server.url)
            page.set_default_timeout(PATIENCE_MS)
            page.goto("/assets/exports/domain_exports")
            page.get_by_text("lei-exports").first.wait_for()
            keep(page, "asset-page", settle_ms=8000)
            page.goto("/assets/exports/domain_exports?view=checks")
            page.get_by_text("columns_match").first.wait_for()
            keep(page, "ui-checks", settle_ms=5000)
            page.goto("/asset-groups")
            page.wait_for_timeout(5000)
            page.keyboard.press("Alt+e")
            page.get_by_text("unique_domains").first.wait_for()
            keep(page, "ui-graph", settle_ms=6000)
            run_sql(database, "DELETE FROM gleif_candidates", "DELETE FROM domains WHERE id > 20")
            assert server.wait_for_run_of("export") == "FAILURE"
            page.goto("/assets/staging/domains?view=checks&checkDetail=source_not_shrunk")
            page.get_by_text("rows_before").first.wait_for()
            keep(page, "ui-failed-check", settle_ms=3000)
    if begun is not None:
        end_run(begun)


def main() -> None:
    """Draw all of them."""
    with TemporaryDirectory(prefix="lei-pictures-") as name, open_browser() as browser:
        for draw in (draw_report, draw_ui):
            folder = Path(name) / draw.__name__
            folder.mkdir()
            draw(browser, folder)


if __name__ == "__main__":
    main()
