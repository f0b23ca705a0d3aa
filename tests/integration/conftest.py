"""Fixtures of the tests on a real PostgreSQL."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipelines.export import run_export
from tests.exporting import settings_for
from tests.integration.kit import Published
from tests.oracle.postgres import Cluster
from tests.oracle.server import embedded_programs, new_server
from tests.oracle.source import fill_source


@pytest.fixture(scope="session")
def _published_once(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    export_dir = tmp_path_factory.mktemp("published")
    with cluster.new_database() as database:
        fill_source(database)
        run_export(settings_for(database, export_dir))
    return export_dir


@pytest.fixture
def published(_published_once: Path, tmp_path: Path) -> Published:
    """An export folder with something published, which a failing run must not touch."""
    export_dir = tmp_path / "published"
    shutil.copytree(_published_once, export_dir, symlinks=True)
    return Published(export_dir)


@pytest.fixture(scope="session")
def tcp() -> Iterator[tuple[Cluster, int]]:
    """A PostgreSQL on a port of 127.0.0.1 that asks every role but `refused` for its password."""
    hba = ["host all refused 127.0.0.1/32 reject", "host all all 127.0.0.1/32 scram-sha-256"]
    with new_server(embedded_programs(), ["max_connections = 12"], hba) as server:
        yield Cluster(server.database().conninfo), server.port
