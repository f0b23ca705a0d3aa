"""The wheel alone is enough: in an empty environment, from an empty folder, it runs, shows and serves the sample."""

from pathlib import Path

import pytest

from pipelines.contracts.tables import published_tables
from pipelines.snapshots.opening import published_snapshot
from tests.install.kit import build_wheel, install, launch, run, running, wait_for_answer
from tests.ports import free_port

pytestmark = [pytest.mark.orchestration, pytest.mark.integration, pytest.mark.extended]


def test_it_runs_shows_and_serves_the_sample_from_an_empty_folder(tmp_path: Path) -> None:
    (tmp_path / "wheel").mkdir()
    programs = install(build_wheel(tmp_path / "wheel"), tmp_path / "environment")
    home, here = tmp_path / "home", tmp_path / "here"
    home.mkdir()
    here.mkdir()
    program, environment = str(programs / "lei-exports"), {"PATH": "/usr/bin:/bin", "HOME": str(home)}
    data = home / ".local" / "share" / "lei-exports"

    done = run("env", "-i", *(f"{name}={value}" for name, value in environment.items()), program, "run", cwd=here)
    assert str(data) in done.stderr, "the folder that nobody chose is named"
    snapshot = published_snapshot(data / "exports")
    assert {entry.name for entry in snapshot.manifest.tables} == {
        table.name for table in published_tables(include_full_data=False)
    }
    assert snapshot.scan("domain_exports").collect().height > 0
    assert [file.path for file in snapshot.manifest.extras] == ["report.html"], "the template of the report travels too"

    log = tmp_path / "log"
    port = free_port()
    with running([program, "serve", "--port", str(port)], here, environment, log) as is_running:
        assert wait_for_answer(f"http://127.0.0.1:{port}/health", is_running, log) == {"status": "ok"}
        assert wait_for_answer(f"http://127.0.0.1:{port}/batches", is_running, log)

    port = free_port()
    ui = f"http://127.0.0.1:{port}"
    with running([program, "ui", "--port", str(port)], here, environment, log) as is_running:
        assert "dagster_version" in wait_for_answer(f"{ui}/server_info", is_running, log)
        assert launch(ui, is_running, log) == "SUCCESS"
    assert not list(here.iterdir()), "nothing lies where one stands"
