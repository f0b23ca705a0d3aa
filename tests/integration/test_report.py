"""report.html in a published snapshot: of its rows, with what the run knew by then; and a run whose drawing fails."""

import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from pipelines.build.building import build_tables
from pipelines.build.extraction import NOTHING_ACCEPTED, stage_source
from pipelines.build.reporting import RunReport, plots_of_built
from pipelines.errors import ReportError
from pipelines.export import run_export
from pipelines.progress import Progress
from pipelines.report.charts import draw_bars
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot, published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.run_lock import hold_run_lock
from tests.exporting import export, settings_for
from tests.hostile import insert_hostile
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, fill_source
from tests.random_rows import random_rows
from tests.report.kit import Page

pytestmark = [pytest.mark.integration, pytest.mark.standard]


@pytest.fixture
def settings(database: Database, tmp_path: Path) -> Settings:
    fill_source(database, *random_rows(3, 60))
    return settings_for(database, tmp_path / "exports")


def publish(settings: Settings, on_progress: Callable[[Progress], None] = lambda _: None) -> Snapshot:
    publication = run_export(settings, on_progress=on_progress, full_refresh=True, with_report=True, in_process=True)
    assert publication is not None
    snapshot = published_snapshot(settings.export_dir)
    assert snapshot.manifest == publication.manifest
    assert bool(publication.plots) == bool(snapshot.manifest.extras)
    return snapshot


def page_of(snapshot: Snapshot) -> Page:
    return Page((snapshot.folder / "report.html").read_bytes())


def kill_the_drawing(progress: Progress) -> None:
    """When the data is complete and nothing is drawn yet."""
    if "verified" in progress.what:
        for child in psutil.Process().children():
            if "pipelines.report.drawing" in " ".join(child.cmdline()):
                child.kill()


def test_the_report_is_of_the_snapshot_and_of_its_run(settings: Settings) -> None:
    first, second = publish(settings), publish(settings)
    page = page_of(second)
    rows = {table.name: f"{table.rows:,}" for table in first.manifest.tables}
    changes = {row[0]: row[1:] for row in page.tables["Rows per table"][1:]}
    assert changes == {name: [count, count, "0"] for name, count in rows.items()}
    assert any(first.manifest.id in text for text in page.texts)
    batch_count = first.record_of("batch_summaries").rows
    assert f"Batches: {batch_count} as before; no count differs." in page.texts
    assert sum(page.numbers("batches", column=2)) == first.record_of("domain_exports").rows
    stages = [row[0] for row in page.tables["timings"][1:]]
    assert len(stages) == len(second.manifest.timings_s) - 1, "all but the drawing itself"
    assert "publish: verify" in stages
    assert any("There is no snapshot before" in text for text in page_of(first).texts)
    assert [file.path for file in second.manifest.extras] == ["report.html"]
    verify_snapshot(second)


def test_domain_rows_that_changed_are_named(database: Database, settings: Settings) -> None:
    """Two segments of three differ; the third one's file is the same, and is not read."""
    settings = settings.model_copy(update={"segment_size": 20})
    first = publish(settings)
    ids = first.scan("domain_exports").select("domain_id").collect()["domain_id"].to_list()
    with database.connect() as connection:
        connection.execute("UPDATE domains SET company_name = 'other than before' WHERE id = %s", [ids[0]])
        connection.execute("DELETE FROM domains WHERE id = %s", [ids[-1]])
    page = page_of(publish(settings))
    rows = page.tables["Domain rows that differ, by id"][1:]
    assert [(row[0], row[1]) for row in rows] == [("gone", str(ids[-1])), ("changed", str(ids[0]))]
    assert rows[1][3] == "company_name"
    assert page.tables["Rows that differ, by table"][1] == ["domain_exports", "0", "1", "1"]
    assert [row[0] for row in page.tables["history-rows"][1:]] == ["1", "2"]


def test_hostile_rows_are_drawn(database: Database, tmp_path: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        insert_hostile(connection)
    snapshot = publish(settings_for(database, tmp_path / "exports"))
    verify_snapshot(snapshot)
    assert b"<script" not in (snapshot.folder / "report.html").read_bytes()


def test_a_report_that_cannot_be_drawn_is_a_warning_and_the_data_is_published(settings: Settings) -> None:
    said: list[str] = []

    def listen(progress: Progress) -> None:
        said.append(progress.what)
        kill_the_drawing(progress)

    snapshot = publish(settings, listen)
    assert snapshot.manifest.extras == ()
    (check,) = [check for check in snapshot.manifest.checks if check.name == "report_drawn"]
    assert (check.passed, check.severity) == (False, "warn")
    assert "status -9" in check.metadata["reason"]
    assert [what for what in said if what.startswith("warning: snapshot.report_drawn (reason: A chart")]
    verify_snapshot(snapshot)
    assert publish(settings).manifest.extras != ()


def test_a_run_without_a_report_publishes_the_data_alone(settings: Settings) -> None:
    snapshot = export(settings)
    assert snapshot.manifest.extras == ()
    assert "report_drawn" not in {check.name for check in snapshot.manifest.checks}


def test_a_lost_report_makes_the_next_run_publish_anew(settings: Settings) -> None:
    first = publish(settings)
    (first.folder / "report.html").unlink()
    publication = run_export(settings, with_report=True)
    assert publication is not None
    assert publication.manifest.base_snapshot is None


def test_a_snapshot_before_that_lost_its_batches_is_compared_by_rows_alone(settings: Settings) -> None:
    (lost,) = publish(settings).parquet_files("batch_summaries")
    lost.unlink()
    page = page_of(publish(settings))
    assert "Rows per table" in page.tables
    assert "changes-by-kind" not in page.tables


def test_plots_of_tables_that_were_just_built(settings: Settings) -> None:
    said: list[str] = []
    report = RunReport()
    with hold_run_lock(settings.export_dir) as lock:
        stage_source(settings, lock, NOTHING_ACCEPTED)
        build_tables(settings, lock, ["domain_exports"])
        alone = plots_of_built(settings, report, ["domain_exports"], said.append)
        build_tables(settings, lock)
    assert "plot_primaries" not in alone["domain_exports"], "without candidates nobody knows which are valid"
    charts = {"domain_exports": 5, "candidate_exports": 2, "rejected_rows": 1}
    plots = plots_of_built(settings, report, [*charts, "entities"], said.append)
    assert {name: len(of_table) for name, of_table in plots.items()} == charts
    assert plots_of_built(settings, report, ["entities"], said.append) == {}
    assert said == []


def test_plots_that_cannot_be_drawn_are_said(settings: Settings) -> None:
    """A built file that is gone; the message has no row and no path."""
    said: list[str] = []
    report = RunReport()
    with hold_run_lock(settings.export_dir) as lock:
        stage_source(settings, lock, NOTHING_ACCEPTED)
        (record,) = [record for record in build_tables(settings, lock) if record.name == "domain_exports"]
    staged = next(settings.export_dir.glob(f"staging/*/tables/{record.files[0].path}"))
    staged.unlink()
    assert plots_of_built(settings, report, ["domain_exports"], said.append) == {}
    assert said == ["no plots of domain_exports: FileNotFoundError"]


def test_a_run_counts_and_draws_once(settings: Settings) -> None:
    """What it has counted needs no file any more, and what it has drawn no process."""
    report = RunReport()
    with hold_run_lock(settings.export_dir) as lock:
        stage_source(settings, lock, NOTHING_ACCEPTED)
        records = build_tables(settings, lock)
    (tables_dir,) = settings.export_dir.glob("staging/*/tables")
    figures = report.count(tables_dir, records)
    shutil.rmtree(tables_dir)
    assert report.count(tables_dir, records) is figures
    bars = draw_bars(["a"], [1], ["1"])
    with report.drawing() as draw:
        drawn = draw(bars)
        (process,) = [child for child in psutil.Process().children() if "report.drawing" in " ".join(child.cmdline())]
        process.kill()
        assert draw(bars) == drawn
        with pytest.raises(ReportError, match="the drawing process ended"):
            draw(draw_bars(["a"], [2], ["2"]))
