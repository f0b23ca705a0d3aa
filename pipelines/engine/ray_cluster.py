"""The engine of a Ray cluster: Ray schedules tasks, retries those of a lost node, and stops them."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Generic

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from pipelines.engine.flow import Calls, Engine, Facts, Task
from pipelines.engine.ray_connection import PAGE
from pipelines.engine.ray_worker import Outcome, name_node, run_on_node, versions_here
from pipelines.errors import EngineError
from pipelines.progress import OnProgress, Progress
from pipelines.system.runtime_tuning import ALLOCATORS

# So often a task is tried again whose worker or node was lost. One that runs out of memory likewise.
_RETRIES = 3
# To start a worker and import the code takes 2 s, on a busy machine 15.
_ANSWER_SECONDS = 60.0
# So long a run waits for a node that is large enough: Kubernetes starts a lost one again within this.
_NODE_SECONDS = 60.0
# A task has one core: libraries that make a thread for each core of the machine would take those of other tasks. Arrow
# reads OMP_NUM_THREADS. Ray sets them before a worker's Python starts, so before Polars is imported.
_THREADS = {"POLARS_MAX_THREADS": "1", "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1", "ARROW_IO_THREADS": "1"}
# Set likewise: a worker's own modules would be imported after Polars.
_ENVIRONMENT = {**_THREADS, **ALLOCATORS}


class RayEngine(Engine):
    """Runs tasks on the nodes of the cluster that this process is connected to: each with one core and stated memory.

    In flight are `at_a_time` tasks, at most one for each core that the cluster has now.

    Args:
        on_progress: Hears of each task that has ended.
    """

    name = "ray"

    def __init__(self, on_progress: OnProgress) -> None:
        self._on_progress = on_progress
        self._versions = versions_here()

    def open_calls(
        self, function: Callable[[Task], Facts], memory_bytes: int, at_a_time: int | None
    ) -> AbstractContextManager[Calls[Task, Facts]]:
        """As `Engine.open_calls`."""
        calls: _Calls[Task, Facts] = _Calls(function, self._versions, memory_bytes, at_a_time, self._on_progress)
        return nullcontext(calls)

    def ask_nodes(self, function: Callable[[Task], Facts], task: Task) -> dict[str, Facts]:
        """As `Engine.ask_nodes`. It needs no free core, so a cluster at work answers too."""
        call = ray.cloudpickle.dumps((function, task))
        asked = {
            node["NodeID"]: (
                name_node(node["NodeManagerHostname"], node["NodeID"]),
                _remote(
                    function,
                    memory_bytes=0,
                    num_cpus=0,
                    scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False),
                ).remote(self._versions, call),
            )
            for node in _nodes(memory_bytes=0)
        }
        until = time.monotonic() + _ANSWER_SECONDS
        answers: dict[str, Facts] = {}
        for node_id, (name, ref) in asked.items():
            try:
                answers[name] = _facts(ref, f"node {name}", max(0.0, until - time.monotonic())).facts
            except _LostError:
                # Lost before or while it was asked: the cluster goes on without it.
                if any(node["NodeID"] == node_id for node in _nodes(memory_bytes=0)):
                    raise
        if not answers:
            raise EngineError(
                "The Ray cluster has no node that takes tasks",
                expected="nodes with at least one core",
                found="none that is alive",
                fix=f"start nodes, then run again ({PAGE})",
            )
        return answers


class _LostError(EngineError):
    """The process or the node of a call was lost each time it was tried."""


class _Calls(Generic[Task, Facts]):
    """The calls of one `map`; a call is an ObjectRef."""

    def __init__(
        self,
        function: Callable[[Task], Facts],
        versions: dict[str, str],
        memory_bytes: int,
        at_a_time: int | None,
        on_progress: OnProgress,
    ) -> None:
        self._function = function
        self._name = _name_function(function)
        self._remote = _remote(function, memory_bytes=memory_bytes, num_cpus=1)
        self._versions = versions
        self._memory_bytes = memory_bytes
        self._at_a_time = at_a_time
        self._on_progress = on_progress
        self._done = 0
        self._is_stopping = False
        self._fitting_at = time.monotonic()

    def bound(self) -> int:
        cores = max(1, int(ray.cluster_resources().get("CPU", 0)))
        return min(self._at_a_time or cores, cores)

    def submit(self, task: Task) -> Any:  # noqa: ANN401
        return self._remote.remote(self._versions, ray.cloudpickle.dumps((self._function, task)))

    def wait(self, calls: set[Any], count: int, timeout_s: float) -> set[Any]:
        if not calls:
            return set()
        done, _ = ray.wait(list(calls), num_returns=count, timeout=timeout_s, fetch_local=False)
        if not done and not self._is_stopping:
            self._require_node()
        return set(done)

    def result(self, call: Any) -> Facts:  # noqa: ANN401
        outcome = _facts(call, f"task {self._name}")
        self._done += 1
        self._on_progress(Progress("engine", f"{self._name} on {outcome.node}, {outcome.seconds:.1f} s", self._done))
        facts: Facts = outcome.facts
        return facts

    def cancel(self, calls: set[Any]) -> None:  # noqa: ARG002  none is cancelled
        """Nothing waits: no more are submitted than can run. Ray's own cancel may abort this process (FACTS 11)."""
        self._is_stopping = True

    def abandon(self, calls: set[Any]) -> None:
        """End the processes in which they run."""
        for call in calls:
            ray.cancel(call, force=True)

    def _require_node(self) -> None:
        """Ray waits for ever for a node that never comes.

        Raises:
            EngineError: For a minute there was none that is large enough.
        """
        now = time.monotonic()
        if _nodes(self._memory_bytes):
            self._fitting_at = now
        elif now - self._fitting_at > _NODE_SECONDS:
            sizes = [f"{node['Resources'].get('memory', 0) / 2**20:,.0f} MiB" for node in _nodes(memory_bytes=0)]
            raise EngineError(
                f"No node of the Ray cluster can run the task {self._name}",
                expected=f"a core and {self._memory_bytes / 2**20:,.0f} MiB on one node",
                found=f"nodes with {', '.join(sizes)}" if sizes else "no node that is alive",
                fix=f"start larger nodes, or lower SEGMENT_SIZE ({PAGE})",
            )


def _remote(function: Callable[..., Any], *, memory_bytes: int, num_cpus: int, **options: Any) -> Any:  # noqa: ANN401
    return ray.remote(run_on_node).options(
        name=_name_function(function),
        num_cpus=num_cpus,
        memory=memory_bytes,
        max_retries=_RETRIES,
        retry_exceptions=False,
        runtime_env={"env_vars": _ENVIRONMENT},
        **options,
    )


def _facts(call: Any, what: str, timeout_s: float | None = None) -> Outcome:  # noqa: ANN401
    """How a call ended.

    Raises:
        ExportError: Of the task.
        EngineError: Ray could not run it. Texts of Ray quote tracebacks and are left out.
    """
    try:
        outcome: Outcome = ray.get(call, timeout=timeout_s)
    except ray.exceptions.RayTaskError:
        raise EngineError(
            f"The {what} could not be run",
            expected="nodes that have the same image as the coordinator",
            found="one that can't import its code, or can't hand over what it returned",
            fix=f"install the same image on each node ({PAGE}); Ray's worker log of that node has the reason",
        ) from None
    except ray.exceptions.OutOfMemoryError:
        raise EngineError(
            f"The {what} ran out of memory on its node",
            found=f"Ray ended it, {_RETRIES + 1} times",
            fix="lower SEGMENT_SIZE, or give nodes more memory for each core",
        ) from None
    except ray.exceptions.GetTimeoutError:
        raise EngineError(
            f"The {what} does not answer",
            expected=f"an answer within {_ANSWER_SECONDS:.0f} s",
            found="none",
            fix="look whether EXPORT_DIR hangs there; stop the node, then run again",
        ) from None
    except ray.exceptions.RayError as error:
        raise _LostError(
            f"The {what} was lost",
            found=f"{type(error).__name__}, after {_RETRIES} more tries",
            fix="run again; if it stays so, Ray's logs of the nodes say who ended its worker",
        ) from None
    if outcome.error is not None:
        raise outcome.error from None
    return outcome


def _nodes(memory_bytes: int) -> list[dict[str, Any]]:
    """The nodes that can run a task that needs a core and so much memory."""
    return [
        node
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("CPU", 0) >= 1 and node["Resources"].get("memory", 0) >= memory_bytes
    ]


def _name_function(function: Callable[..., Any]) -> str:
    """Of the function alone: the values in a partial stay out of Ray's logs."""
    return getattr(getattr(function, "func", function), "__name__", type(function).__name__)
