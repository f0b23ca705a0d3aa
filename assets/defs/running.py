"""Shows of each Dagster run that it is going on, and in which export folder (pipelines/system/running.py)."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import dagster as dg

from pipelines.system.running import hold_running

EXPORT_DIR_TAG = "lei_exports/export_dir"
# Runs that this process shows, with what ends that.
_shown: dict[str, ExitStack] = {}


@contextmanager
def showing(run_id: str, export_dir: Path) -> Iterator[dict[str, str]]:
    """Show a run of this process while the block lasts, from before Dagster knows it.

    Args:
        run_id: Its id.
        export_dir: The folder that it works on.

    Yields:
        The tags to create it with.
    """
    with ExitStack() as stack:
        if not stack.enter_context(hold_running(export_dir, run_id)):
            yield {}
            return
        _shown[run_id] = stack
        try:
            yield {EXPORT_DIR_TAG: str(export_dir)}
        finally:
            del _shown[run_id]


def show(instance: dg.DagsterInstance, run_id: str, export_dir: Path) -> None:
    """Show a run that has begun in this process, until the process ends.

    Not until its resources are closed: the run writes down afterwards how it ended, and is alive meanwhile.

    Args:
        instance: Where the run is.
        run_id: Its id; one that is shown already stays as it is.
        export_dir: The folder that it works on.
    """
    for other in [each for each in _shown if each != run_id]:
        run = instance.get_run_by_id(other)
        if run is not None and run.is_finished:
            _shown.pop(other).close()
    if run_id in _shown:
        return
    stack = ExitStack()
    if stack.enter_context(hold_running(export_dir, run_id)):
        _shown[run_id] = stack
        instance.add_run_tags(run_id, {EXPORT_DIR_TAG: str(export_dir)})
