"""A run of the command `lei-exports run`: in the process of the command, and in Dagster where an operator looks."""

import uuid
from pathlib import Path
from typing import Any

import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteRepositoryOrigin

from assets.defs.running import showing

# The name of the code location in workspace.yaml, in docs/deploy and of `lei-exports ui`.
LOCATION = "lei-exports"
# Its value is the run's own id: a re-execution that is started in the UI has the tags of the run before.
# Hidden in the UI by its prefix, as Dagster's own.
_COMMAND_TAG = ".dagster/lei_exports_run_of_command"


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

    Args:
        definitions: What the job is in.
        job_name: Its name.
        run_config: Its config.
        instance: Where the run is recorded.
        export_dir: The folder that it works on.
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
