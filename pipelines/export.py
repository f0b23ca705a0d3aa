"""One run, from top to bottom. Dagster's assets take the same steps, each in an asset of its own."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.build.building import build_tables
from pipelines.build.derived_tables import build_derived_tables
from pipelines.build.extraction import NOTHING_ACCEPTED, Acceptance, StagedSource, stage_source
from pipelines.build.publication import Publication, publish_tables, raise_if_failed
from pipelines.build.reporting import RunReport
from pipelines.contracts.records import TableRecord
from pipelines.engine.flow import Engine
from pipelines.engine.opening import open_engine
from pipelines.progress import OnProgress, ignore_progress, report_wait
from pipelines.settings import Settings
from pipelines.snapshots.opening import published_snapshot
from pipelines.system.run_lock import WAIT_SECONDS, RunLock, hold_run_lock

if TYPE_CHECKING:
    from pipelines.remote.pushing import Pushed


@dataclass(frozen=True)
class Run:
    """A run that holds the lock of its export folder. Each step goes on from what the one before left on disk.

    Attributes:
        report: What was counted and drawn so far, which a later step need not do again.
    """

    settings: Settings
    lock: RunLock
    engine: Engine
    on_progress: OnProgress = ignore_progress
    report: RunReport = field(default_factory=RunReport)

    def stage(self, accepted: Acceptance = NOTHING_ACCEPTED, *, full_refresh: bool = False) -> StagedSource:
        """Read what changed of both source tables."""
        return stage_source(
            self.settings, self.lock, accepted, self.on_progress, engine=self.engine, full_refresh=full_refresh
        )

    def build(self, names: Sequence[str] | None = None) -> list[TableRecord]:
        """Build the tables of staged rows, or those of these names."""
        return build_tables(self.settings, self.lock, names, self.on_progress, engine=self.engine)

    def derive(self, names: Sequence[str] | None = None) -> list[TableRecord]:
        """Build the tables that are computed from those, or those of these names."""
        return build_derived_tables(self.settings, self.lock, names, self.on_progress, engine=self.engine)

    def publish(self, *, with_report: bool = True, in_process: bool = False) -> Publication:
        """Verify what was built, and switch `current` to it."""
        report = self.report if with_report else None
        return publish_tables(self.settings, self.lock, self.on_progress, report=report, in_process=in_process)

    def push(self) -> "Pushed":
        """Send the published snapshot to object storage (PUBLISH_URL), where it is not current there."""
        from pipelines.remote.pushing import push_snapshot  # noqa: PLC0415  needs the extra `cloud`

        return push_snapshot(self.settings, published_snapshot(self.settings.export_dir), self.on_progress)


@contextmanager
def hold_run(
    settings: Settings, on_progress: OnProgress = ignore_progress, wait_seconds: float = WAIT_SECONDS
) -> Iterator[Run]:
    """A run that holds the lock of the export folder while the block lasts.

    Raises:
        BusyError: Another run still worked on the same export folder after `wait_seconds`.
        SettingsError: The export folder can't be used.
    """
    with (
        hold_run_lock(settings.export_dir, report_wait(on_progress), wait_seconds) as lock,
        open_engine(settings, on_progress) as engine,
    ):
        yield Run(settings, lock, engine, on_progress)


def run_export(  # noqa: PLR0913 - what an operator may choose for a run
    settings: Settings,
    accepted: Acceptance = NOTHING_ACCEPTED,
    on_progress: OnProgress = ignore_progress,
    *,
    full_refresh: bool = False,
    with_report: bool = False,
    wait_seconds: float = WAIT_SECONDS,
    in_process: bool = False,
) -> Publication | None:
    """Stage, build and publish, holding the lock of the run from the first step to the last.

    Args:
        full_refresh: Read everything, changed or not.
        with_report: Draw report.html too, as the job does: about a second.
        wait_seconds: How long to wait for another run on the same export folder.
        in_process: Write exports.duckdb in this process: for tests that are not about the process.

    Returns:
        What was published; None where nothing changed since the published snapshot.

    Raises:
        BusyError: Another run still worked on the same export folder after `wait_seconds`.
        LockLostError: Another run took the lock; nothing was published.
        RemoteError: Object storage (PUBLISH_URL) failed; the local publication stands.
        ExportError: Whatever else stopped the run; the published snapshot is as it was.
    """
    publication = None
    with hold_run(settings, on_progress, wait_seconds) as run:
        staged = run.stage(accepted, full_refresh=full_refresh)
        raise_if_failed(staged.checks)
        if staged.unchanged_since is None:
            for table in run.build():
                raise_if_failed(table.checks)
            for table in run.derive():
                raise_if_failed(table.checks)
            publication = run.publish(with_report=with_report, in_process=in_process)
        if settings.publish_url is not None:
            run.push()
    return publication
