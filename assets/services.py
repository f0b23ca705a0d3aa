"""Runs Dagster's web server and daemon side by side until one ends or somebody stops them: what `make ui` does.

Not `dagster dev`: that is superseded and says so at each start. These are the services of a deployment (docs/deploy),
each with a code server of its own.
"""

import os
import signal
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

_WORKSPACE = Path(__file__).resolve().parents[1] / "workspace.yaml"
_POLL_S, _END_S = 0.5, 20.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_services(port: int) -> int:
    """Run both services on this machine's loopback, with DAGSTER_HOME as the environment has it.

    Args:
        port: Of the web server, on 127.0.0.1.

    Returns:
        0 when a signal ended them, else the status of the service that ended by itself.
    """
    stop = threading.Event()

    def heard(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in _SIGNALS:
        signal.signal(number, heard)
    commands = (
        [_script("dagster-webserver"), "-h", "127.0.0.1", "-p", str(port), "-w", str(_WORKSPACE)],
        [_script("dagster-daemon"), "run", "-w", str(_WORKSPACE)],
    )
    services: list[subprocess.Popen[bytes]] = []
    try:
        # Sessions of their own: Ctrl-C in the terminal reaches us alone, and each of them is told once.
        services.extend(
            subprocess.Popen([sys.executable, *command], start_new_session=True)  # noqa: S603
            for command in commands
        )
        while not stop.wait(_POLL_S):
            ended = next((service for service in services if service.poll() is not None), None)
            if ended is not None:
                return ended.returncode or 1
    finally:
        _end(services)
    return 0


def _script(name: str) -> str:
    return str(Path(sysconfig.get_path("scripts")) / name)


def _end(services: Sequence["subprocess.Popen[bytes]"]) -> None:
    for service in services:
        with suppress(ProcessLookupError):
            service.send_signal(signal.SIGINT)
    for service in services:
        with suppress(subprocess.TimeoutExpired):
            service.wait(timeout=_END_S)
        with suppress(ProcessLookupError):  # what is left, such as a code server that did not end with it
            os.killpg(service.pid, signal.SIGKILL)
        service.wait()
