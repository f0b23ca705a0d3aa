"""The built-in sample, exported once for all of these tests."""

from pathlib import Path

import pytest

from pipelines.snapshots.opening import Snapshot, published_snapshot
from tests.exporting import export, settings_for
from tests.oracle.postgres import Cluster
from tests.oracle.source import create_source_tables, load_csv_dir

SAMPLE = Path(__file__).resolve().parents[2] / "pipelines" / "sample" / "data"


@pytest.fixture(scope="package")
def home(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data/exports of the sample in it, as beside the README."""
    folder = tmp_path_factory.mktemp("home")
    with cluster.new_database() as database:
        with database.connect() as connection:
            create_source_tables(connection)
            load_csv_dir(connection, SAMPLE)
        export(settings_for(database, folder / "data" / "exports"))
    return folder


@pytest.fixture(scope="package")
def snapshot(home: Path) -> Snapshot:
    return published_snapshot(home / "data" / "exports")
