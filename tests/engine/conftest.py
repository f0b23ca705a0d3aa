"""One Ray cluster for the tests of this folder."""

import os
from collections.abc import Iterator

import pytest

from pipelines.engine.opening import Engine, open_engine
from pipelines.progress import Progress
from pipelines.settings import Settings
from tests.engine.cluster import RayCluster

HEARD: list[Progress] = []
"""What the engine of these tests has reported."""


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
        former = os.getcwd()  # noqa: PTH109
        os.chdir(ray_cluster.folder)
        with open_engine(Settings(), HEARD.append) as engine:
            os.chdir(former)
            yield engine
