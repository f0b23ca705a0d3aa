"""The report of a run: report.html for its snapshot, plots for the pages of its assets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from pipelines.build.stagings import latest_staging
from pipelines.build.table_build import scan_files
from pipelines.checks.definitions import REPORT_DRAWN
from pipelines.contracts.records import Manifest, TableRecord
from pipelines.contracts.tables import published_tables
from pipelines.errors import ExportError, ReportError, SnapshotError
from pipelines.report.charts import Spec
from pipelines.report.differences import ChangedFiles
from pipelines.report.drawing import Draw, drawing_process
from pipelines.report.figures import Figures, compare_figures, measure_tables
from pipelines.report.rendering import REPORT, SNAPSHOT, make_page, plots_for
from pipelines.settings import Settings
from pipelines.snapshots.folder import SideFiles
from pipelines.snapshots.opening import Snapshot, list_snapshots

DRAWN_TABLES = ("domain_exports", "candidate_exports", "rejected_rows")
_COMPARED_TABLE = "batch_summaries"


class RunReport:
    """What a run draws, for the pages of its assets and for report.html. It keeps what it has counted or drawn."""

    def __init__(self) -> None:
        self._figures: dict[frozenset[str], Figures] = {}
        self._drawings: dict[str, str] = {}

    def count(self, folder: Path, records: Sequence[TableRecord]) -> Figures:
        """What the charts show of the drawn tables among some; not what changed.

        Args:
            folder: Where the paths of their files begin.
        """
        drawn = [record for record in records if record.name in DRAWN_TABLES]
        # By content: the files of a staging are those of its snapshot.
        content = frozenset(f"{record.name} {file.sha256}" for record in drawn for file in record.files)
        if content not in self._figures:
            self._figures[content] = measure_tables({record.name: scan_files(folder, record.files) for record in drawn})
        return self._figures[content]

    @contextmanager
    def drawing(self) -> Iterator[Draw]:
        """What draws a chart that this run has not drawn yet: a process, which starts at once."""
        with ExitStack() as stack:
            draw = _start_drawing(stack)

            def draw_once(spec: Spec) -> str:
                key = repr(spec)
                if key not in self._drawings:
                    self._drawings[key] = draw(spec)
                return self._drawings[key]

            yield draw_once


@dataclass
class ReportMaker:
    """Makes report.html of a snapshot that is about to be published; a `MakeExtras`.

    Attributes:
        keep_snapshots: So many snapshots are in its history (KEEP_SNAPSHOTS).
        plots: Afterwards the plots of the snapshot's asset, Markdown by metadata key; empty where drawing failed.
    """

    report: RunReport
    draw: Draw
    keep_snapshots: int
    plots: dict[str, str] = field(default_factory=dict)

    def __call__(self, snapshot: Snapshot, previous: Snapshot | None) -> SideFiles:
        """Draw; what fails becomes a warning, because the data is complete and verified by now."""
        # Who reads the report has it, so that the report counts this check too.
        checks = (*snapshot.manifest.checks, REPORT_DRAWN.result(passed=True))
        manifest = snapshot.manifest.model_copy(update={"checks": checks})
        try:
            figures = compare_figures(
                self.report.count(snapshot.folder, manifest.tables),
                batches_of(snapshot),
                None if previous is None else batches_of(previous),
                changed_files(snapshot, previous),
            )
            earlier = earlier_manifests(snapshot, self.keep_snapshots)
            page = make_page(figures, manifest, earlier, self.draw)
            self.plots = plots_for(SNAPSHOT, figures, manifest, self.draw)
        except Exception as error:  # noqa: BLE001  see above: whatever it is, it is reported
            return SideFiles(checks=(REPORT_DRAWN.result(passed=False, reason=_reason(error)),))
        return SideFiles({REPORT: page}, (REPORT_DRAWN.result(passed=True, bytes=len(page)),))


def plots_of_built(
    settings: Settings, report: RunReport, names: Sequence[str], log: Callable[[str], None]
) -> Mapping[str, Mapping[str, str]]:
    """Plots of tables that were just built.

    Args:
        log: Hears why there are none.

    Returns:
        By table name, Markdown by metadata key; no table where nothing of them is drawn, or drawing failed.
    """
    drawn = [name for name in names if name in DRAWN_TABLES]
    if not drawn:
        return {}
    try:
        with report.drawing() as draw:
            staging = latest_staging(settings.export_dir)
            built = [staging.read_table_record(name) for name in DRAWN_TABLES]
            figures = report.count(staging.tables_dir, [record for record in built if record is not None])
            return {name: plots_for(name, figures, draw=draw) for name in drawn}
    except Exception as error:  # noqa: BLE001  the tables are built
        log(f"no plots of {', '.join(drawn)}: {_reason(error)}")
        return {}


def _start_drawing(stack: ExitStack) -> Draw:
    try:
        return stack.enter_context(drawing_process())
    except OSError as error:
        found = type(error).__name__

        def refuse(_: Spec) -> str:
            raise ReportError("The drawing process could not be started", found=found)

        return refuse


def batches_of(snapshot: Snapshot) -> pl.LazyFrame | None:
    """batch_summaries of a snapshot to compare with; None where it is of before that table, or has lost its file."""
    try:
        return snapshot.scan(_COMPARED_TABLE)
    except SnapshotError:
        return None


def earlier_manifests(snapshot: Snapshot, keep_snapshots: int) -> list[Manifest]:
    """Manifests of the newest readable snapshots before this one, oldest first: with it `keep_snapshots`, or two."""
    export_dir = snapshot.folder.parent.parent
    manifests = [other.manifest for other in list_snapshots(export_dir).snapshots]
    earlier = [manifest for manifest in manifests if manifest.sequence < snapshot.manifest.sequence]
    return earlier[-max(keep_snapshots - 1, 1) :]


def changed_files(snapshot: Snapshot, previous: Snapshot | None) -> dict[str, ChangedFiles] | None:
    """What of each table differs from the snapshot before; None where there is none, or it has lost such a file."""
    if previous is None:
        return None
    changed = {}
    for table in published_tables(include_full_data=snapshot.manifest.include_full_data):
        if table.name not in snapshot.table_names or table.name not in previous.table_names:
            continue
        files = [snapshot_.record_of(table.name).files for snapshot_ in (previous, snapshot)]
        digests = [{(file.path, file.sha256) for file in side} for side in files]
        old, new = (
            [file for file in side if (file.path, file.sha256) not in others]
            for side, others in zip(files, reversed(digests), strict=True)
        )
        if not all((previous.folder / file.path).is_file() for file in old):
            return None
        if old or new:
            rows = max(sum(file.rows for file in side) for side in (old, new))
            before = scan_files(previous.folder, old) if old else None
            now = scan_files(snapshot.folder, new) if new else None
            changed[table.name] = ChangedFiles(table.key, before, now, rows)
    return changed


def _reason(error: Exception) -> str:
    """What an operator may read: our own words, of others the kind only, because their text may hold row content."""
    return str(error) if isinstance(error, ExportError) else type(error).__name__
