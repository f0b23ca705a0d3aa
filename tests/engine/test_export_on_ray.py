"""A run on a real Ray cluster: the same rows, checks and bytes as on threads, whatever dies in it."""

import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Self

import psutil
import pytest

from pipelines import export as run_module
from pipelines.build.building import build_tables
from pipelines.build.derived_tables import build_derived_tables
from pipelines.engine.flow import Engine
from pipelines.errors import EngineError
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot, current_snapshot, published_snapshot
from pipelines.source import ranges
from tests.engine.cluster import ROOT, Node, RayCluster, copy_code
from tests.engine.tasks import Job, square
from tests.exporting import assert_agrees, before_it_reads, export, settings_for
from tests.hostile import insert_hostile
from tests.integration.kit import OUR_SESSIONS, SLOW_READS, make_slow, run_sql, scalar, session
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, fill_source, insert_source, load_csv_dir
from tests.random_rows import random_rows
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.extended]

CHANGES = (
    "UPDATE domains SET company_name = 'Changed' WHERE id % 7 = 3",
    "UPDATE gleif_candidates SET legal_name = 'Changed' WHERE id % 50 = 1",
    "DELETE FROM gleif_candidates WHERE id % 31 = 5",
)
SNAPSHOT_ID = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")


@pytest.fixture
def many_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small tables are read and derived in many tasks, as large ones are."""
    monkeypatch.setattr(ranges, "RANGE_BYTES", 16 * 8192)
    monkeypatch.setattr(run_module, "build_tables", partial(build_tables, range_rows=200))
    monkeypatch.setattr(run_module, "build_derived_tables", partial(build_derived_tables, range_rows=200))


def on_ray(database: Database, export_dir: Path, cluster: RayCluster, **overrides: Any) -> Settings:
    return settings_for(database, export_dir, engine="ray", ray_address=cluster.address, **overrides)


def facts_of(snapshot: Snapshot) -> list[str]:
    """What must not depend on the engine: rows, files and their bytes, checks."""
    manifest = snapshot.manifest
    checks = [*manifest.checks, *(check for table in manifest.tables for check in table.checks)]
    facts = [
        *((table, sorted(prints.items())) for table, prints in sorted(manifest.fingerprints.items())),
        *manifest.changed_segments,
        *((table.name, table.rows, table.cuts, table.findings) for table in manifest.tables),
        *((file.path, file.rows, file.sha256) for table in manifest.tables for file in table.files),
        *(check.model_dump() for check in checks),
    ]
    return [SNAPSHOT_ID.sub("<id>", str(fact)) for fact in facts]


def fill(database: Database, source: str, real: Path) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        if source == "hostile":
            insert_hostile(connection)
        elif source == "random":
            insert_source(connection, *random_rows(7, 400))
        else:
            load_csv_dir(connection, real if source == "real" else ROOT / "pipelines" / "sample" / "data")


@pytest.mark.parametrize("source", ["sample", "real", "hostile"])
@pytest.mark.usefixtures("many_ranges", "ray_engine")
def test_rows_checks_and_bytes_are_those_of_threads(
    database: Database, ray_cluster: RayCluster, tmp_path: Path, shared_data: Path, source: str
) -> None:
    """Twice: all rows, while a writer changes both tables; then what it changed."""
    fill(database, source, shared_data)
    threads = settings_for(database, tmp_path / "local", segment_size=100)
    ray = on_ray(database, tmp_path / "ray", ray_cluster, segment_size=100)
    expected = facts_of(export(threads))
    writing = before_it_reads(lambda: run_sql(database, *CHANGES))
    assert facts_of(export(ray, on_progress=writing)) == expected
    expected = facts_of(export(threads))
    snapshot = export(ray)
    assert facts_of(snapshot) == expected
    assert snapshot.manifest.base_snapshot is not None
    assert_agrees(database, snapshot)


class Killer(threading.Thread):
    """Kills a node as soon as a task of a function runs on it."""

    def __init__(self, node: Node, function: str) -> None:
        super().__init__(daemon=True)
        self._node, self._title = node, f"ray::{function}"
        self.has_killed = False
        self._is_over = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self.join()

    def run(self) -> None:
        while not self._is_over.wait(0.001):
            if any(self._title in title_of(pid) for pid in self._node.pids()):
                self.has_killed = True
                self._node.kill()
                return


def title_of(pid: int) -> str:
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.Error:
        return ""


# A task takes some hundredths of a second: on a busy machine the one that looks for it may come too late.
_TRIES = 10


@pytest.mark.parametrize("stage", ["read_range", "build_segment", "derive_range"])
@pytest.mark.usefixtures("many_ranges")
def test_a_node_killed_in_a_stage(
    database: Database, ray_cluster: RayCluster, new_node: Callable[..., Node], tmp_path: Path, stage: str
) -> None:
    fill_source(database, *random_rows(7, 3000))
    expected = facts_of(export(settings_for(database, tmp_path / "local", segment_size=100)))
    settings = on_ray(database, tmp_path / "ray", ray_cluster, segment_size=100, read_connections=3)
    for _ in range(_TRIES):
        with Killer(new_node(), stage) as killer:
            snapshot = export(settings, full_refresh=True)
        assert facts_of(snapshot) == expected
        if killer.has_killed:
            return
    pytest.fail("the node was never seen at work in that stage")


RUN = """
from pipelines.export import run_export
from pipelines.settings import load_settings
if __name__ == "__main__":
    run_export(load_settings())
"""


def begin_run(settings: Settings, cluster: RayCluster) -> subprocess.Popen[bytes]:
    assert settings.database_url is not None
    variables = {
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "EXPORT_DIR": str(settings.export_dir),
        "SEGMENT_SIZE": str(settings.segment_size),
        "RAY_gcs_rpc_server_reconnect_timeout_s": "5",  # a lost head is looked for so long, not for a minute
    }
    return subprocess.Popen(
        [sys.executable, "-c", RUN],
        env={**os.environ, **cluster.environment, **variables, "PYTHONPATH": str(ROOT)},
        cwd=cluster.folder,
    )


def assert_it_leaves_nothing(
    database: Database, settings: Settings, cluster: RayCluster, lose: Callable[[subprocess.Popen[bytes]], object]
) -> None:
    """A run that loses something while it reads fails, `current` is as it was, and no session is left on the server.

    Args:
        settings: Of the run before, whose changes it reads.
        lose: Gets the coordinator's process.
    """
    before = export(settings)
    run_sql(database, *CHANGES)
    make_slow(database)
    coordinator = begin_run(settings, cluster)
    with session(database) as looker:

        def reads() -> bool:
            return bool(scalar(looker, SLOW_READS))

        wait_until(lambda: reads() or coordinator.poll() is not None)
        assert coordinator.poll() is None
        lose(coordinator)
        assert coordinator.wait(240) != 0
        wait_until(lambda: scalar(looker, OUR_SESSIONS) == 0)
    after = published_snapshot(settings.export_dir)
    assert after.manifest == before.manifest
    run_sql(
        database,
        *(
            statement
            for table in ("domains", "gleif_candidates")
            for statement in (f"DROP VIEW {table}", f"ALTER TABLE real_{table} RENAME TO {table}")
        ),
    )


@pytest.mark.usefixtures("ray_engine")
def test_the_coordinator_killed(database: Database, ray_cluster: RayCluster, tmp_path: Path) -> None:
    fill(database, "random", tmp_path)
    settings = on_ray(database, tmp_path, ray_cluster, segment_size=100)
    assert_it_leaves_nothing(database, settings, ray_cluster, lambda coordinator: coordinator.kill())
    assert_agrees(database, export(settings))


def test_the_head_lost(database: Database, tmp_path: Path) -> None:
    fill(database, "random", tmp_path)
    settings = settings_for(database, tmp_path, segment_size=100)
    with RayCluster() as cluster:
        assert_it_leaves_nothing(database, settings, cluster, lambda _: cluster.nodes[0].kill())
    assert_agrees(database, export(settings))


def test_a_node_with_other_code_stops_the_run_before_rows_are_read(
    database: Database, ray_engine: Engine, ray_cluster: RayCluster, new_node: Callable[..., Node], tmp_path: Path
) -> None:
    fill(database, "random", tmp_path)
    new_node({"PYTHONPATH": str(copy_code(tmp_path / "other"))})
    heard: list[str] = []
    with pytest.raises(EngineError, match=r"The node \S+ \(\w{8}\) has other versions") as caught:
        export(on_ray(database, tmp_path / "ray", ray_cluster), on_progress=lambda message: heard.append(message.what))
    assert re.fullmatch(r"lei-exports sources \w{12}", caught.value.expected)
    assert re.fullmatch(r"lei-exports sources \w{12}", caught.value.found)
    assert "segments of both tables" not in heard
    assert current_snapshot(tmp_path / "ray") is None
    # One that joins later is found by its first task.
    with pytest.raises(EngineError, match="has other versions"):
        list(ray_engine.map(square, (Job(number) for number in range(5000)), memory_bytes=2**20))
