"""Runs Dagster's services side by side until one ends or somebody stops them: what `make ui` does.

Not `dagster dev`: that is superseded and says so at each start. These are the services of a deployment (docs/deploy):
code server, web server, daemon. Without a code server of its own the daemon would start a new one every minute.
"""

import os
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from assets.command_run import LOCATION
from pipelines.processes import command_of, environment_of

_ROOT = Path(__file__).resolve().parents[1]
_POLL_S, _LONGEST_START_S, _END_S = 0.2, 120.0, 20.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_WORKSPACE = """load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""

Service = subprocess.Popen[bytes]


def run_services(port: int, *, read_only: bool = False) -> int:
    """Run the services on this machine's loopback, with DAGSTER_HOME as the environment has it.

    Args:
        port: Of the web server, on 127.0.0.1.
        read_only: Nothing can be started or changed in the UI; schedules and sensors run on.

    Returns:
        0 when a signal ended them, else the status of the service that ended by itself, or that did not start.
    """
    stop = threading.Event()

    def heard(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in _SIGNALS:
        signal.signal(number, heard)
    services: list[Service] = []
    with tempfile.TemporaryDirectory(prefix="lei-exports-") as folder:
        address, workspace = Path(folder) / "code", Path(folder) / "workspace.yaml"
        workspace.write_text(_WORKSPACE.format(socket=address, location=LOCATION), encoding="utf-8")
        try:
            services.append(_start(*_program("dagster"), *_code_server(address)))
            if not _wait_until_up(address, services[0], stop):
                return 0 if stop.is_set() else services[0].poll() or 1
            services.append(_start(*_web_server(port, workspace, read_only=read_only)))
            services.append(_start(*_program("dagster-daemon"), "run", "-w", str(workspace)))
            while not stop.wait(_POLL_S):
                ended = next((service for service in services if service.poll() is not None), None)
                if ended is not None:
                    return ended.returncode or 1
        finally:
            _end(list(reversed(services)))
    return 0


def _code_server(address: Path) -> list[str]:
    """Arguments of the code server; one that `Reload definitions` in the UI makes load the code anew."""
    place = ["--module-name", "assets.definitions", "--working-directory", str(_ROOT), "--location-name", LOCATION]
    # Runs start with this very interpreter.
    more = ["--use-python-environment-entry-point", "--log-level", "warning"]
    return ["code-server", "start", "--socket", str(address), *place, *more]


def _web_server(port: int, workspace: Path, *, read_only: bool) -> list[str]:
    """Command of the web server, with the guard that keeps other web pages out."""
    command = [*command_of("assets.web"), "--port", str(port), "--workspace", str(workspace)]
    return [*command, "--read-only"] if read_only else command


def _program(name: str) -> list[str]:
    """Command of a program of Dagster's, in this very interpreter."""
    return [sys.executable, str(Path(sysconfig.get_path("scripts")) / name)]


def _start(*command: str) -> Service:
    """Start a service in a session of its own: Ctrl-C in the terminal reaches us alone, and it is told once."""
    return subprocess.Popen(command, start_new_session=True, env=environment_of())  # noqa: S603  ours but for a number


def _wait_until_up(address: Path, server: Service, stop: threading.Event) -> bool:
    until = time.monotonic() + _LONGEST_START_S
    while time.monotonic() < until and server.poll() is None and not stop.wait(_POLL_S):
        with socket.socket(socket.AF_UNIX) as ours, suppress(OSError):
            ours.connect(str(address))
            return True
    return False


def _end(services: Sequence[Service]) -> None:
    for service in services:
        with suppress(ProcessLookupError):
            service.terminate()  # not SIGINT: a service that is still starting would print a traceback
    for service in services:
        with suppress(subprocess.TimeoutExpired):
            service.wait(timeout=_END_S)
        with suppress(ProcessLookupError):  # what is left of it, such as a process that did not end with it
            os.killpg(service.pid, signal.SIGKILL)
        service.wait()
