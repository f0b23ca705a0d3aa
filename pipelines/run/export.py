"""A whole run without Dagster: what tests and embedders call; the job `export` takes the same steps."""

from pipelines.progress import OnProgress, ignore_progress
from pipelines.run.building import build_tables
from pipelines.run.deriving import build_derived_tables
from pipelines.run.extraction import NOTHING_ACCEPTED, Acceptance, stage_source
from pipelines.run.publication import Publication, publish_tables, raise_if_failed
from pipelines.settings import Settings


def run_export(
    settings: Settings,
    accepted: Acceptance = NOTHING_ACCEPTED,
    on_progress: OnProgress = ignore_progress,
    *,
    full_refresh: bool = False,
    with_report: bool = False,
) -> Publication | None:
    """Stage, build and publish.

    Args:
        settings: The settings of the run.
        accepted: What the operator accepts.
        on_progress: Hears of each step.
        full_refresh: Read everything, changed or not.
        with_report: Draw report.html too, as the job does: about a second.

    Returns:
        What was published; None where nothing changed since the published snapshot.

    Raises:
        ExportError: Whatever stopped the run; the published snapshot is as it was.
    """
    staged = stage_source(settings, accepted, on_progress, full_refresh=full_refresh)
    raise_if_failed(staged.checks)
    if staged.unchanged_since is not None:
        return None
    for table in build_tables(settings, None, on_progress):
        raise_if_failed(table.checks)
    for table in build_derived_tables(settings, None, on_progress):
        raise_if_failed(table.checks)
    return publish_tables(settings, on_progress, with_report=with_report)
