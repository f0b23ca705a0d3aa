"""A whole run without Dagster: what tests and embedders call; the job `export` takes the same steps."""

from pipelines.build.building import build_tables
from pipelines.build.derived_tables import build_derived_tables
from pipelines.build.extraction import NOTHING_ACCEPTED, Acceptance, stage_source
from pipelines.build.publication import Publication, publish_tables, raise_if_failed
from pipelines.progress import OnProgress, ignore_progress, tell_wait
from pipelines.settings import Settings
from pipelines.system.run_lock import WAIT_SECONDS, RunLock, hold_run_lock


def run_export(  # noqa: PLR0913 - what an operator may choose for a run
    settings: Settings,
    accepted: Acceptance = NOTHING_ACCEPTED,
    on_progress: OnProgress = ignore_progress,
    *,
    full_refresh: bool = False,
    with_report: bool = False,
    wait_seconds: float = WAIT_SECONDS,
) -> Publication | None:
    """Stage, build and publish, holding the lock of the run from the first step to the last.

    Args:
        settings: The settings of the run.
        accepted: What the operator accepts.
        on_progress: Hears of each step.
        full_refresh: Read everything, changed or not.
        with_report: Draw report.html too, as the job does: about a second.
        wait_seconds: How long to wait for another run on the same export folder.

    Returns:
        What was published; None where nothing changed since the published snapshot.

    Raises:
        BusyError: Another run still worked on the same export folder after `wait_seconds`.
        LockLostError: Another run took the lock; nothing was published.
        RemoteError: Object storage (PUBLISH_URL) failed; the local publication stands.
        ExportError: Whatever else stopped the run; the published snapshot is as it was.
    """
    with hold_run_lock(settings.export_dir, tell_wait(on_progress), wait_seconds) as lock:
        publication = _export(settings, lock, accepted, on_progress, full_refresh=full_refresh, with_report=with_report)
        if settings.publish_url is not None:
            from pipelines.remote.pushing import push_current  # noqa: PLC0415  needs the extra `cloud`

            push_current(settings, on_progress)
        return publication


def _export(  # noqa: PLR0913 - what an operator may choose for a run
    settings: Settings,
    lock: RunLock,
    accepted: Acceptance,
    on_progress: OnProgress,
    *,
    full_refresh: bool,
    with_report: bool,
) -> Publication | None:
    staged = stage_source(settings, lock, accepted, on_progress, full_refresh=full_refresh)
    raise_if_failed(staged.checks)
    if staged.unchanged_since is not None:
        return None
    for table in build_tables(settings, lock, None, on_progress):
        raise_if_failed(table.checks)
    for table in build_derived_tables(settings, lock, None, on_progress):
        raise_if_failed(table.checks)
    return publish_tables(settings, lock, on_progress, with_report=with_report)
