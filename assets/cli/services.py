"""Runs Dagster's services side by side until one ends or somebody stops them: what `make ui` does.

Not `dagster dev`: that is superseded and says so at each start. These are the services of a deployment (docs/deploy):
code server, web server, daemon. Without a code server of its own the daemon would start a new one every minute.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import sysconfig
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from assets.defs.running import LOCATION
from pipelines.errors import SettingsError
from pipelines.system.processes import command_of, ending_with, environment_of

_ROOT = Path(__file__).resolve().parents[2]
_POLL_S, _MAX_START_S, _END_S = 0.2, 120.0, 20.0
# A code server that ends more often than this within that time would go on to do so.
_MAX_RESTARTS, _RESTARTS_WITHIN_S = 5, 600.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_SOCKET, _WORKSPACE_FILE = "code.sock", "ui-workspace.yaml"
# unix(7): 108 bytes on Linux, 104 elsewhere, with a zero byte at the end.
_MAX_SOCKET_PATH = 103
_WORKSPACE = """load_from:
  - grpc_server:
      socket: {socket}
      location_name: {location}
"""


@dataclass
class _Service:
    """A service and the process that it is now.

    Attributes:
        name: For a person.
        command: Program and arguments.
        inherits: File descriptors that its process gets too.
        left: Process groups of earlier processes in which something still runs, such as a run of Dagster's.
    """

    name: str
    command: list[str]
    inherits: tuple[int, ...] = ()
    process: "subprocess.Popen[bytes]" = field(init=False)
    left: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start it in a session of its own (Ctrl-C in the terminal reaches us alone); it ends when we are killed."""
        command = ending_with(os.getpid(), self.command)
        self.process = subprocess.Popen(  # noqa: S603  ours but for a number
            command, start_new_session=True, env=environment_of(), pass_fds=self.inherits
        )

    def has_ended(self) -> bool:
        """Whether its process ended; what is left in its group is remembered before the number can be used again."""
        self.left = {group for group in self.left if _is_there(group)}
        if self.process.poll() is None:
            return False
        if _is_there(self.process.pid):
            self.left.add(self.process.pid)
        return True

    def describe_end(self) -> str:
        """How its process ended."""
        status = self.process.returncode
        how = f"was killed by signal {-status}" if status < 0 else f"ended by itself, with status {status}"
        return f"Dagster's {self.name} {how}"


def run_services(
    listening: socket.socket, home: Path, daemon_lock: int, log: Callable[[str], None], *, read_only: bool
) -> str:
    """Run the services on this machine's loopback, with DAGSTER_HOME as the environment has it.

    A code server that ends is started again. Runs that it had launched go on without it.

    Args:
        listening: Socket on 127.0.0.1 that the web server serves.
        home: DAGSTER_HOME, an absolute path; the socket of the code server is in it.
        daemon_lock: File descriptor of a lock that the daemon holds as long as it lives.
        log: Gets a message when the code server is started again.
        read_only: Nothing can be started or changed in the UI; schedules and sensors run on.

    Returns:
        "" when a signal ended them, else what happened to the service that ended, or that did not start.

    Raises:
        SettingsError: The path of DAGSTER_HOME is too long for a socket in it, on a system without /proc.
    """
    stop = threading.Event()

    def heard(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in _SIGNALS:
        signal.signal(number, heard)
    services: list[_Service] = []
    folder = os.open(home, os.O_RDONLY | os.O_DIRECTORY)
    address, workspace = _address(home, folder), home / _WORKSPACE_FILE
    workspace.write_text(_WORKSPACE.format(socket=json.dumps(address), location=LOCATION), encoding="utf-8")
    try:
        code = _Service("code server", _code_server(address))
        services.append(code)
        if not _wait_until_up(address, code, stop):
            return "" if stop.is_set() else f"{_describe_start(code)}, before it served"
        web = [*command_of("assets.cli.web"), "--listening-fd", str(listening.fileno()), "--workspace", str(workspace)]
        web += ["--read-only"] if read_only else []
        services.append(_Service("web server", web, inherits=(listening.fileno(),)))
        daemon = [*command_of("assets.cli.daemon"), "-w", str(workspace)]
        services.append(_Service("daemon", daemon, inherits=(daemon_lock,)))
        return _watch(code, services, stop, log)
    finally:
        _end(services)
        os.close(folder)


def _watch(code: _Service, services: list[_Service], stop: threading.Event, log: Callable[[str], None]) -> str:
    """Wait until a signal comes or a service ends for good; the code server is started again."""
    restarts: deque[float] = deque(maxlen=_MAX_RESTARTS)
    while not stop.wait(_POLL_S):
        ended = [service for service in services if service.has_ended()]
        for service in ended:
            if service is not code:
                return service.describe_end()
            if len(restarts) == _MAX_RESTARTS and time.monotonic() - restarts[0] < _RESTARTS_WITHIN_S:
                return f"{code.describe_end()}, {_MAX_RESTARTS + 1} times in {_RESTARTS_WITHIN_S / 60:g} minutes"
            restarts.append(time.monotonic())
            log(f"{code.describe_end()}; it is started again.")
            code.start()
    return ""


def _address(home: Path, folder: int) -> str:
    """Path of the code server's socket, in DAGSTER_HOME; where that is too long, through our descriptor of the folder.

    Raises:
        SettingsError: It is too long, and there is no /proc.
    """
    path = home / _SOCKET
    if len(os.fsencode(path)) <= _MAX_SOCKET_PATH:
        return str(path)
    if not Path("/proc/self/fd").exists():
        raise SettingsError(
            f"DAGSTER_HOME {home} is too long a path",
            expected=f"at most {_MAX_SOCKET_PATH - len(_SOCKET) - 1} bytes: a socket is made in it",
            found=f"{len(os.fsencode(home))} bytes",
            fix="set DAGSTER_HOME to another folder",
        )
    return f"/proc/{os.getpid()}/fd/{folder}/{_SOCKET}"


def _code_server(address: str) -> list[str]:
    """Command of the code server. Not `code-server start`, which goes on when its child dies, who has the code."""
    program = [sys.executable, str(Path(sysconfig.get_path("scripts")) / "dagster")]
    place = ["--module-name", "assets.defs.definitions", "--working-directory", str(_ROOT), "--location-name", LOCATION]
    # Runs start with this very interpreter.
    more = ["--use-python-environment-entry-point", "--log-level", "warning"]
    return [*program, "api", "grpc", "--socket", address, *place, *more]


def _wait_until_up(address: str, server: _Service, stop: threading.Event) -> bool:
    until = time.monotonic() + _MAX_START_S
    while time.monotonic() < until and not server.has_ended() and not stop.wait(_POLL_S):
        with socket.socket(socket.AF_UNIX) as ours, suppress(OSError):
            ours.connect(address)
            return True
    return False


def _describe_start(server: _Service) -> str:
    if server.has_ended():
        return server.describe_end()
    return f"Dagster's {server.name} was stopped after {_MAX_START_S:g} s"


def _is_there(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except OSError:
        return False
    return True


def _end(services: list[_Service]) -> None:
    """Ask all to end, with the runs that they launched; what has not ended after 20 s is killed."""
    for service in reversed(services):
        _signal(service, signal.SIGTERM)  # not SIGINT: a service that is still starting would print a traceback
    until = time.monotonic() + _END_S
    for service in reversed(services):
        with suppress(subprocess.TimeoutExpired):
            service.process.wait(timeout=max(0.0, until - time.monotonic()))
    while time.monotonic() < until and any(_groups(services)):
        time.sleep(_POLL_S)
    for service in services:
        _signal(service, signal.SIGKILL)
        service.process.wait()


def _groups(services: Iterable[_Service]) -> list[int]:
    """Process groups in which something runs."""
    return [group for service in services for group in {service.process.pid, *service.left} if _is_there(group)]


def _signal(service: _Service, number: signal.Signals) -> None:
    for group in _groups([service]):
        with suppress(OSError):
            os.killpg(group, number)
