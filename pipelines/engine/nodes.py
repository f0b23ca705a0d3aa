"""What is asked of each node before rows are read: whether it can do its part."""

import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipelines.engine.flow import Engine
from pipelines.errors import EngineError, ExportError

_FILE = ".node_check"


@dataclass(frozen=True)
class _Answer:
    token: str
    unusable: str
    probe_error: ExportError | None


def check_nodes(engine: Engine, export_dir: Path, probe: Callable[[], object]) -> None:
    """Ask each node of a cluster for what a run needs there. Does nothing for ENGINE=local: this process is the node.

    A node that has other versions than this process says so by itself, here and with each task.

    Args:
        engine: What runs the tasks.
        export_dir: EXPORT_DIR; a file with a random token is written to it, read by each node, and removed.
        probe: Reaches PostgreSQL; picklable; raises an ExportError where it can't.

    Raises:
        EngineError: A node has other versions, does not see EXPORT_DIR or may not write to it, can't reach PostgreSQL,
            or does not answer; or there is no node.
    """
    if engine.name == "local":
        return
    token = secrets.token_hex(16)
    file = export_dir / _FILE
    try:
        file.write_text(token, encoding="ascii")
    except OSError as error:
        raise EngineError(
            f"EXPORT_DIR can't be written to ({export_dir})",
            found=error.strerror or type(error).__name__,
            fix="correct EXPORT_DIR, or the rights of this folder",
        ) from None
    try:
        answers = engine.ask_nodes(partial(_answer, probe), file)
    finally:
        file.unlink(missing_ok=True)
    for node, answer in answers.items():
        _require(node, answer, token, export_dir)


def _answer(probe: Callable[[], object], file: Path) -> _Answer:
    """What one node finds."""
    token = unusable = ""
    probe_error = None
    try:
        token = file.read_text(encoding="ascii")
        if not os.access(file.parent, os.W_OK | os.X_OK):
            unusable = "it may not write there"
    except (OSError, ValueError) as error:
        unusable = (error.strerror if isinstance(error, OSError) else "") or type(error).__name__
    try:
        probe()
    except ExportError as error:
        probe_error = error
    return _Answer(token, unusable, probe_error)


def _require(node: str, answer: _Answer, token: str, export_dir: Path) -> None:
    if answer.unusable or answer.token != token:
        raise EngineError(
            f"The node {node} does not see EXPORT_DIR as the coordinator does",
            expected=f"{export_dir} on a file system that all nodes share, writable on each",
            found=answer.unusable or "another folder at the same path",
            fix="mount it on each node at the same path, for the same account (docs/scale-out.md)",
        )
    if answer.probe_error is not None:
        raise EngineError(
            f"The node {node} can't reach PostgreSQL",
            expected="a connection to the server of DATABASE_URL, as the coordinator has one",
            found=str(answer.probe_error),
            fix="open the network between the node and the server (docs/scale-out.md)",
        )
