"""Runs that are going on: each shows that it is, and in which export folder (pipelines/system/run_lock.py).

The command `lei-exports run` makes one in its own process, and in Dagster where an operator looks.
"""

import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from pipelines.system.run_lock import hold_running

EXPORT_DIR_TAG = "lei_exports/export_dir"
# Runs that this process shows, with what ends that.
_shown: dict[str, ExitStack] = {}
# The name of the code location in workspace.yaml, in docs/deploy and of `lei-exports ui`.
LOCATION = "lei-exports"
# Its value is the run's own id: a re-execution that is started in the UI has the tags of the run before.
# Hidden in the UI by its prefix, as Dagster's own.
_COMMAND_TAG = ".dagster/lei_exports_run_of_command"


@contextmanager
def showing(run_id: str, export_dir: Path) -> Iterator[dict[str, str]]:
    """Show a run of this process while the block lasts, from before Dagster knows it.

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

    Not until its resources are closed: the run writes down afterwards how it ended, and is alive meanwhile. A run that
    is shown already stays as it is.
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


def execute_as_command(
    definitions: dg.Definitions,
    job_name: str,
    run_config: dict[str, Any],
    instance: dg.DagsterInstance,
    export_dir: Path,
) -> dg.JobExecutionResult:
    """Run a job in this process, with the origin that runs have which the UI starts.

    The pages of the job, the timeline and the sensors find runs by that origin. No public function of Dagster runs a
    job in process and lets its origin be set; `execute_in_process` makes the run itself.
    """
    run_id, job = str(uuid.uuid4()), definitions.resolve_job_def(job_name)
    origin = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(LOCATION), SINGLETON_REPOSITORY_NAME)
    with showing(run_id, export_dir) as tags:
        run = instance.create_run_for_job(
            job,
            run_id=run_id,
            run_config=run_config,
            tags={**job.run_tags, **tags, _COMMAND_TAG: run_id},
            remote_job_origin=origin.get_job_origin(job_name),
        )
        return execute_run(InMemoryJob(job), run, instance)


def is_of_command(run: dg.DagsterRun) -> bool:
    """Whether the command made a run: it posts the alert of it too."""
    return run.tags.get(_COMMAND_TAG) == run.run_id
