"""Which engine the settings want."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.engine.flow import Engine
from pipelines.engine.local import LOCAL
from pipelines.progress import OnProgress, ignore_progress
from pipelines.settings import Settings

# Ray's own, where the operator has not set them. Ray reads them while it is imported.
_RAY_VARIABLES = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_task_oom_retries": "3",  # else a task that runs out of memory is tried again for ever
    "RAY_BACKEND_LOG_LEVEL": "error",  # it repeats warnings on standard error each second
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a warning of what will change in Ray, about GPUs
}
# Tries to connect. Ray's own 20 take 20 s with a wrong token, and 14 minutes where only one side has TLS.
_CONNECT_TRIES = {"RAY_NUM_REDIS_GET_RETRIES": "3"}


@contextmanager
def open_engine(settings: Settings, on_progress: OnProgress = ignore_progress) -> Iterator[Engine]:
    """The engine of ENGINE while the block runs; at its end no task runs any more.

    Args:
        settings: `engine` and `ray_address` count.
        on_progress: Hears on which node each task ran (ENGINE=ray).

    Raises:
        EngineError: The cluster of RAY_ADDRESS can't be used, or none could be started.
    """
    if settings.engine == "local":
        yield LOCAL
        return
    for name, value in (_RAY_VARIABLES if settings.ray_address is None else _RAY_VARIABLES | _CONNECT_TRIES).items():
        os.environ.setdefault(name, value)
    from pipelines.engine.ray_cluster import RayEngine  # noqa: PLC0415  needs the extra `ray`
    from pipelines.engine.ray_connection import connected  # noqa: PLC0415

    with connected(settings.ray_address):
        yield RayEngine(on_progress)
