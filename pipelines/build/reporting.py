"""The report of a run: report.html for its snapshot, plots for the pages of its assets."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import polars as pl

from pipelines.build.staging import latest_staging
from pipelines.checks.definitions import REPORT_DRAWN
from pipelines.errors import ExportError, ReportError, SnapshotError
from pipelines.report.charts import Spec
from pipelines.report.drawing import Draw, drawing_process
from pipelines.report.figures import measure_tables
from pipelines.report.page import make_page
from pipelines.report.rendering import REPORT, SNAPSHOT, plots_for
from pipelines.settings import Settings
from pipelines.snapshots.folder import SideFiles
from pipelines.snapshots.opening import Snapshot

DRAWN_TABLES = ("domain_exports", "candidate_exports", "rejected_rows")
_COMPARED_TABLE = "batch_summaries"


class ReportMaker:
    """Makes report.html of a snapshot that is about to be published; a `MakeExtras`.

    Attributes:
        plots: Afterwards the plots of the snapshot's asset, Markdown by metadata key; empty where drawing failed.
    """

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self.plots: dict[str, str] = {}

    def __call__(self, snapshot: Snapshot, previous: Snapshot | None) -> SideFiles:
        """Draw; what fails becomes a warning, because the data is complete and verified by now."""
        # Who reads the report has it, so that the report counts this check too.
        checks = (*snapshot.manifest.checks, REPORT_DRAWN.result(passed=True))
        manifest = snapshot.manifest.model_copy(update={"checks": checks})
        try:
            earlier, before = (None, None) if previous is None else (previous.manifest, batches_of(previous))
            figures = measure_tables(_scans(snapshot), before)
            page = make_page(figures, manifest, earlier, self._draw).encode()
            self.plots = plots_for(SNAPSHOT, figures, manifest, self._draw)
        except Exception as error:  # noqa: BLE001  see above: whatever it is, it is told
            return SideFiles(checks=(REPORT_DRAWN.result(passed=False, reason=_reason(error)),))
        return SideFiles({REPORT: page}, (REPORT_DRAWN.result(passed=True, bytes=len(page)),))


@contextmanager
def making_report() -> Iterator[ReportMaker]:
    """A maker of report.html; what draws for it starts at once, and is ready when the snapshot is."""
    with ExitStack() as stack:
        yield ReportMaker(_drawing(stack))


def plots_of_built(
    settings: Settings, names: Sequence[str], say: Callable[[str], None]
) -> Mapping[str, Mapping[str, str]]:
    """Plots of tables that were just built.

    Args:
        names: The tables.
        say: Hears why there are none.

    Returns:
        By table name, Markdown by metadata key; no table where nothing of them is drawn, or drawing failed.
    """
    drawn = [name for name in names if name in DRAWN_TABLES]
    if not drawn:
        return {}
    try:
        with ExitStack() as stack:
            draw = _drawing(stack)
            figures = measure_tables(_staged_scans(settings))
            return {name: plots_for(name, figures, draw=draw) for name in drawn}
    except Exception as error:  # noqa: BLE001  the tables are built
        say(f"no plots of {', '.join(drawn)}: {_reason(error)}")
        return {}


def _drawing(stack: ExitStack) -> Draw:
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


def _scans(snapshot: Snapshot) -> dict[str, pl.LazyFrame]:
    return {name: snapshot.scan(name) for name in (*DRAWN_TABLES, _COMPARED_TABLE) if name in snapshot.table_names}


def _staged_scans(settings: Settings) -> dict[str, pl.LazyFrame]:
    """Scans of those drawn tables that are built from the last complete staging."""
    staging = latest_staging(settings.export_dir)
    records = {name: staging.read_table_record(name) for name in DRAWN_TABLES}
    return {
        name: pl.scan_parquet([staging.tables_dir / file.path for file in record.files], glob=False)
        for name, record in records.items()
        if record is not None
    }


def _reason(error: Exception) -> str:
    """What an operator may read: our own words, of others the kind only, because their text may hold row content."""
    return str(error) if isinstance(error, ExportError) else type(error).__name__
