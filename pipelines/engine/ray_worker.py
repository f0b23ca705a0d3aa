"""What runs on a node of a Ray cluster: one task, if the node has the same code as the coordinator.

Nothing of a task goes through Ray's own error reports or logs: errors come back as values.
"""

import hashlib
import pickle
import platform
import socket
import time
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import ray

import pipelines
from pipelines.errors import EngineError, ExportError
from pipelines.system.unexpected import as_unexpected

# What decides how rows are read and which bytes are written.
_LIBRARIES = ("connectorx", "polars", "pyarrow")


@dataclass(frozen=True)
class Outcome:
    """How a task ended: facts or an error.

    Attributes:
        node: Name of the node.
        seconds: How long it ran there.
    """

    node: str
    seconds: float
    facts: Any = None
    error: ExportError | None = None


def name_node(hostname: str, node_id: str) -> str:
    """Name of a node for people, unique in the cluster: Ray's logs begin lines with that id."""
    return f"{hostname} ({node_id[:8]})"


@lru_cache(maxsize=1)
def versions_here() -> dict[str, str]:
    """Versions in this process: of Python, the libraries, and a digest of the sources of `pipelines`."""
    root = Path(pipelines.__path__[0])
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        digest.update(f"{path.relative_to(root)}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return {
        "lei-exports": f"sources {digest.hexdigest()[:12]}",
        "Python": platform.python_version(),
        **{name: version(name) for name in _LIBRARIES},
    }


def run_on_node(expected: dict[str, str], call: bytes) -> Outcome:
    """Run a task.

    Args:
        expected: Versions of the coordinator. Each task compares them: a node may join while a run goes on.
        call: Pickled: a function and its task. Unpickled only here, because it imports code that may differ.

    Returns:
        The facts or the error. An error that is not ours comes without its text, which may quote anything.
    """
    node = name_node(socket.gethostname(), ray.get_runtime_context().get_node_id())
    if (own := versions_here()) != expected:
        return Outcome(node, 0, error=_differing(node, expected, own))
    started = time.monotonic()
    try:
        function, task = pickle.loads(call)  # noqa: S301  of the coordinator
        facts = function(task)
    except ExportError as error:
        return Outcome(node, time.monotonic() - started, error=error)
    except (KeyboardInterrupt, SystemExit):  # Ray cancels it
        raise
    except BaseException as error:  # noqa: BLE001  a panic in Rust is none of Exception
        return Outcome(node, time.monotonic() - started, error=as_unexpected(error))
    return Outcome(node, time.monotonic() - started, facts)


def _differing(node: str, expected: dict[str, str], own: dict[str, str]) -> EngineError:
    differing = [name for name in expected if own.get(name) != expected[name]]
    return EngineError(
        f"The node {node} has other versions than the coordinator",
        expected=", ".join(f"{name} {expected[name]}" for name in differing),
        found=", ".join(f"{name} {own.get(name, 'none')}" for name in differing),
        fix="install the same image on each node (docs/scale-out.md)",
    )
