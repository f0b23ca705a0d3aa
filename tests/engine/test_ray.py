"""What only a cluster can do or suffer: lost nodes and coordinators, nodes that differ, secrets, threads."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from pydantic import SecretStr

from pipelines.engine.flow import Engine
from pipelines.engine.nodes import check_nodes
from pipelines.errors import EngineError
from pipelines.system.unexpected import UnexpectedError
from tests.engine.cluster import ROOT, Node, RayCluster
from tests.engine.conftest import HEARD
from tests.engine.tasks import (
    Job,
    describe_process,
    die,
    fail_unexpectedly,
    fail_with_panic,
    probe_nothing,
    probe_refused,
    run_until_released,
    square,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.extended

MIB = 2**20
SECRET = "hunter2-in-the-url"


def running(folder: Path) -> set[int]:
    return {int(path.name.rpartition("-")[2]) for path in folder.glob("running-*")}


def test_a_task_has_one_core_and_the_log_says_on_which_node_it_ran(ray_engine: Engine) -> None:
    HEARD.clear()
    facts = list(ray_engine.map(describe_process, [Job(0), Job(1)], memory_bytes=MIB))
    for found in facts:
        assert (found["polars"], found["arrow"], found["arrow_io"], found["rayon"]) == (1, 1, 1, "1")
    assert [(message.stage, message.done, message.unit) for message in HEARD] == [
        ("engine", 1, "tasks"),
        ("engine", 2, "tasks"),
    ]
    for message, found in zip(HEARD, facts, strict=True):
        assert re.fullmatch(rf"describe_process on \S+ \({str(found['node'])[:8]}\), \d+\.\d s", message.what)


@pytest.mark.parametrize("function", [fail_unexpectedly, fail_with_panic])
def test_no_secret_of_a_task_is_in_an_error_or_a_log(
    ray_engine: Engine, ray_cluster: RayCluster, capfd: pytest.CaptureFixture[str], function: type
) -> None:
    with pytest.raises(UnexpectedError) as caught:
        list(ray_engine.map(function, [Job(0, secret=SecretStr(SECRET))], memory_bytes=MIB))
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in f"{error} {error!r} {getattr(error, '__notes__', '')}"
        error = error.__cause__ or error.__context__
    assert "tests/engine" not in str(caught.value)
    assert SECRET not in "".join(capfd.readouterr())
    for path in ray_cluster.folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            with suppress(FileNotFoundError):  # Ray has deleted it meanwhile
                assert SECRET.encode() not in path.read_bytes(), path


def test_a_node_that_is_killed_costs_no_facts(
    ray_engine: Engine, new_node: Callable[..., Node], tmp_path: Path
) -> None:
    node = new_node()
    killed: list[int] = []

    def kill_it() -> None:
        mine = running(tmp_path) & set(node.pids())
        if mine and not killed:
            killed.extend(mine)
            node.kill()
            (tmp_path / "release").touch()

    jobs = [Job(number, tmp_path) for number in range(12)]
    facts = list(ray_engine.map(run_until_released, jobs, memory_bytes=MIB, watch=kill_it))
    assert killed
    assert len(facts) == 12


def test_a_task_that_ends_its_process_each_time_is_an_error(ray_engine: Engine) -> None:
    with pytest.raises(EngineError, match="The task die was lost") as caught:
        list(ray_engine.map(die, [Job(0)], memory_bytes=MIB))
    assert "3 more tries" in caught.value.found


def test_a_task_that_fits_on_no_node_is_an_error(ray_engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.engine.ray_cluster._NODE_SECONDS", 1)
    with pytest.raises(EngineError, match="No node of the Ray cluster can run the task square") as caught:
        list(ray_engine.map(square, [Job(0)], memory_bytes=2**42))
    assert "4,194,304 MiB" in caught.value.expected
    assert caught.value.found.count("MiB") == 2


def test_nodes_that_fit_are_found_fit(ray_engine: Engine, tmp_path: Path) -> None:
    check_nodes(ray_engine, tmp_path, probe_nothing)
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_cannot_reach_postgresql_is_named(ray_engine: Engine, tmp_path: Path) -> None:
    with pytest.raises(EngineError, match=r"The node \S+ \(\w{8}\) can't reach PostgreSQL") as caught:
        check_nodes(ray_engine, tmp_path, probe_refused)
    assert "connection refused" in caught.value.found


def test_a_node_that_does_not_see_the_export_folder_is_named(
    ray_engine: Engine, new_node: Callable[..., Node], tmp_path: Path
) -> None:
    hide = f'mount -t tmpfs none {tmp_path} && exec "$@"'
    if subprocess.run(["unshare", "-rm", "true"], check=False, capture_output=True).returncode:
        pytest.skip("no mount namespaces here: unshare -rm is refused")
    new_node(before=["unshare", "-rm", "sh", "-c", hide, "sh"])
    with pytest.raises(EngineError, match=r"The node \S+ \(\w{8}\) does not see EXPORT_DIR") as caught:
        check_nodes(ray_engine, tmp_path, probe_nothing)
    assert caught.value.found == "No such file or directory"


def name_of(pid: int) -> str:
    try:
        return psutil.Process(pid).cmdline()[0]
    except (psutil.Error, IndexError):
        return ""


def addresses_of(pid: int) -> set[str]:
    """Where a process listens; nowhere, where it has ended meanwhile."""
    with suppress(psutil.NoSuchProcess):
        connections = psutil.Process(pid).net_connections("tcp")
        return {connection.laddr.ip for connection in connections if connection.status == psutil.CONN_LISTEN}
    return set()


COORDINATOR = """
import sys
from pathlib import Path
from pipelines.engine.opening import open_engine
from pipelines.settings import load_settings
from tests.engine.tasks import Job, run_until_released
folder = Path(sys.argv[1])
with open_engine(load_settings()) as engine:
    print(list(engine.map(run_until_released, [Job(n, folder) for n in range(6)], memory_bytes=2**20)))
"""


def begin_coordinator(cluster: RayCluster, folder: Path, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", COORDINATOR, str(folder)],
        env={**os.environ, **cluster.environment, "PYTHONPATH": str(ROOT), **environment},
        cwd=cluster.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_a_cluster_goes_on_after_its_coordinator_was_killed(
    ray_engine: Engine, ray_cluster: RayCluster, tmp_path: Path
) -> None:
    coordinator = begin_coordinator(ray_cluster, tmp_path)
    wait_until(lambda: len(running(tmp_path)) == 2 or coordinator.poll() is not None)
    orphans = running(tmp_path)
    assert orphans
    coordinator.send_signal(signal.SIGKILL)
    coordinator.communicate()
    # Its tasks are ended, though they would go on for a minute.
    wait_until(lambda: not any(orphans & set(node.pids()) for node in ray_cluster.nodes))
    assert list(ray_engine.map(square, [Job(5)], memory_bytes=MIB)) == [25]


def test_a_coordinator_with_another_token_is_refused(ray_cluster: RayCluster, tmp_path: Path) -> None:
    coordinator = begin_coordinator(ray_cluster, tmp_path, RAY_AUTH_TOKEN="0" * 64)
    _, output = coordinator.communicate()
    assert coordinator.returncode == 1
    assert f"EngineError: The Ray cluster at RAY_ADDRESS ({ray_cluster.address}) refuses the connection" in output
    assert ray_cluster.token not in output
    assert running(tmp_path) == set()


def test_an_address_at_which_nobody_listens_is_said_at_once(ray_cluster: RayCluster, tmp_path: Path) -> None:
    coordinator = begin_coordinator(ray_cluster, tmp_path, RAY_ADDRESS="127.0.0.1:9")
    _, output = coordinator.communicate()
    assert "EngineError: No Ray cluster answers at RAY_ADDRESS (127.0.0.1:9)" in output
    assert "Found: Connection refused" in output


def test_a_cluster_of_its_own_listens_on_loopback_only_and_ends_with_its_coordinator(
    ray_cluster: RayCluster, tmp_path: Path
) -> None:
    """Without RAY_ADDRESS; after SIGKILL too."""
    coordinator = begin_coordinator(ray_cluster, tmp_path, RAY_ADDRESS="", RAY_TMPDIR=str(ray_cluster.folder))
    family = Node([], {}, tmp_path)
    family.process = coordinator
    wait_until(lambda: bool(running(tmp_path)) or coordinator.poll() is not None)
    listening = {address for pid in family.pids() for address in addresses_of(pid)}
    assert listening
    assert {address.removeprefix("::ffff:") for address in listening} <= {"127.0.0.1", "::1"}
    coordinator.send_signal(signal.SIGKILL)
    coordinator.wait()
    # Two processes of Ray's own notice it a minute later.
    try:
        wait_until(
            lambda: {name_of(pid) for pid in family.pids()} <= {"ray::DashboardAgent", "ray::RuntimeEnvAgent", ""}
        )
    finally:
        family.kill()
        coordinator.communicate()
