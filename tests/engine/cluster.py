"""A real Ray cluster on loopback: a head without cores and nodes of one core, each with processes of its own.

Each node has an address of its own (127.x.y.z), so that several clusters and nodes share the machine without a clash of
ports. The token is random.
"""

import itertools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from pipelines.system.processes import ending_with
from tests.ports import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[2]
RAY = str(Path(sys.executable).with_name("ray"))
# A start takes 4 s of the processor, and the machine may be busy.
_START_SECONDS = 180
_STARTED = "Ray runtime started"
# Ray gives up a node that needs 30 s to start, as it may while other tests run.
_TRIES = 3
# Two clusters of one process have different addresses, so many each.
_CLUSTER_HOSTS = 60
_clusters = itertools.count()
# A lost node is noticed after 5 s, not 20.
_HEALTH = {"RAY_health_check_initial_delay_ms": "0", "RAY_health_check_period_ms": "1000"}


@dataclass
class Node:
    """The processes of one node: they are one session of the operating system."""

    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[Any] = field(init=False)

    def begin(self) -> None:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                cwd=self.log.parent,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self) -> None:
        """Wait until it has started."""
        for _ in range(_TRIES):
            wait_until(lambda: self.has_started or self.process.poll() is not None)
            if self.process.poll() is None:
                return
            self.kill()
            reason = self.log.read_text()
            self.begin()
        self.kill()
        raise AssertionError(reason)

    @property
    def has_started(self) -> bool:
        return _STARTED in self.log.read_text()

    def pids(self) -> list[int]:
        """Of all its processes, workers too."""
        return [pid for pid in psutil.pids() if _session_of(pid) == self.process.pid]

    def kill(self) -> None:
        """SIGKILL to each of its processes, as when the machine is lost."""
        while pids := self.pids():
            for pid in pids:
                _kill(pid)
        self.process.wait()


@dataclass
class RayCluster:
    """A cluster that is started when it is entered, and of which nothing is left when it is left."""

    # Ray's sockets need a short path.
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="lei-ray-", dir="/tmp")))
    token: str = field(default_factory=lambda: secrets.token_hex(32))
    nodes: list[Node] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_clusters) % 4)

    def __enter__(self) -> Self:
        self._port = free_port(self._host(1))
        try:
            head = self._begin(
                ["--head", f"--port={self._port}", "--num-cpus=0", "--include-dashboard=false"],
                [f"--temp-dir={self.folder}", f"--ray-client-server-port={free_port(self._host(1))}", "--no-monitor"],
            )
            head.wait()
            self.begin_node()
            self.begin_node()
            self.wait()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for node in reversed(self.nodes):
            node.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def address(self) -> str:
        return f"{self._host(1)}:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a coordinator needs."""
        return {"ENGINE": "ray", "RAY_ADDRESS": self.address, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}

    def begin_node(
        self, environment: Mapping[str, str] | None = None, *, before: Sequence[str] = (), cores: int = 1
    ) -> Node:
        """Start a node; `wait` waits for it.

        Args:
            environment: Variables that differ from those of the others.
            before: A command that runs the node's, such as unshare.
        """
        return self._begin([f"--address={self.address}", f"--num-cpus={cores}"], [], environment, before)

    def wait(self) -> None:
        """Wait until each node that has begun has started."""
        for node in self.nodes:
            node.wait()

    def _host(self, number: int) -> str:
        last = self.number * _CLUSTER_HOSTS + number
        return f"127.{1 + os.getpid() // 250 % 250}.{os.getpid() % 250}.{last}"

    def _begin(
        self,
        options: Sequence[str],
        more: Sequence[str],
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> Node:
        number = len(self.nodes) + 1
        log = self.folder / f"node-{number}.log"
        command = [RAY, "start", *options, *more, f"--node-ip-address={self._host(number)}"]
        command += [
            "--object-store-memory=80000000",
            "--min-worker-port=0",
            "--max-worker-port=0",
            "--dashboard-agent-listen-port=0",
        ]
        command += ["--disable-usage-stats", "--include-log-monitor=false", "--block"]
        own = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "PYTHONPATH"))}
        first, *rest = [*before, *command]
        node = Node(
            ending_with(os.getpid(), [shutil.which(first) or first, *rest]),
            {**own, **self.environment, **_HEALTH, "PYTHONPATH": str(ROOT), **(environment or {})},
            log,
        )
        node.begin()
        self.nodes.append(node)
        return node


def copy_code(target: Path) -> Path:
    """A copy of the code that differs by a line; what a node has as PYTHONPATH."""
    for name in ("pipelines", "tests"):
        shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__"))
    with (target / "pipelines" / "errors.py").open("a", encoding="utf-8") as file:
        file.write("# one line more\n")
    return target


def _session_of(pid: int) -> int:
    try:
        return os.getsid(pid) if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE else -1
    except (ProcessLookupError, PermissionError, psutil.Error):
        return -1


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
