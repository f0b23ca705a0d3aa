"""One Ray cluster for the tests of this folder."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines.engine.flow import Engine
from pipelines.engine.opening import open_engine
from pipelines.progress import Progress
from pipelines.settings import Settings
from tests.engine.cluster import Node, RayCluster
from tests.waiting import wait_until

HEARD: list[Progress] = []
"""What the engine of these tests has reported."""


def nodes_alive() -> int:
    """As this process, the coordinator, is told by the head."""
    import ray  # noqa: PLC0415  what needs no cluster begins without it

    return sum(bool(node["Alive"]) for node in ray.nodes())


@pytest.fixture(scope="package")
def ray_cluster() -> Iterator[RayCluster]:
    """A head and two nodes."""
    with RayCluster() as cluster:
        yield cluster


@pytest.fixture(scope="package")
def ray_engine(ray_cluster: RayCluster) -> Iterator[Engine]:
    """This process as the coordinator of that cluster. Ray reads the token once for each process."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ray_cluster.environment.items():
            patch.setenv(name, value)
        # Ray puts the coordinator's folder before a node's own PYTHONPATH; a test has nodes with other code.
        patch.chdir(ray_cluster.folder)
        with open_engine(Settings(), HEARD.append) as engine:
            # What begins meanwhile for other tests, such as a server of forks, does not inherit the cluster.
            patch.undo()
            yield engine


@pytest.fixture
def new_node(ray_engine: Engine, ray_cluster: RayCluster) -> Iterator[Callable[..., Node]]:
    """Starts one more node, with the arguments of `RayCluster.begin_node`; it is gone after the test."""
    nodes: list[Node] = []

    def start(*arguments: Any, **options: Any) -> Node:
        nodes.append(ray_cluster.begin_node(*arguments, **options))
        nodes[-1].wait()
        return nodes[-1]

    before = nodes_alive()
    yield start
    for node in nodes:
        node.kill()
        ray_cluster.nodes.remove(node)
    # Ray notices after seconds; till then the next test would count it.
    wait_until(lambda: nodes_alive() <= before)
