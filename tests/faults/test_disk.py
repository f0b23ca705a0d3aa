"""A disk that is full, too small, or not ours: seen before the read where it can be, and nothing is half published."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ExportError, StagingError
from pipelines.extract import extraction
from pipelines.reading.snapshots import current_snapshot
from pipelines.reading.verification import verify_snapshot
from pipelines.run.export import run_export
from pipelines.settings import Settings
from tests.exporting import export, settings_for
from tests.faults.kit import need
from tests.integration.kit import ROW_MARK, assert_says, run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]

MEGABYTE = 2**20


@pytest.fixture
def source(database: Database) -> Database:
    """1,500 rows with text that no compression makes small."""
    with database.connect() as connection:
        create_source_tables(connection, id_type="integer PRIMARY KEY")
        domains = [{"id": n, "domain": f"d{n}", "status": "success", "batch_id": "b"} for n in range(1500)]
        insert_source(connection, domains, [{"id": 1, "domain_id": 1, "lei_code": "X", "legal_name": ROW_MARK}])
    return database


def grow(database: Database) -> None:
    """5 MB more."""
    run_sql(
        database,
        "UPDATE domains SET hero_section_content = "
        "(SELECT string_agg(md5(random()::text || n || domains.id), '') FROM generate_series(1, 100) AS n)",
    )


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 48 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", folder]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("mounting a tmpfs is not allowed here")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def fill(disk: Path, free: int) -> None:
    """Leave so many bytes."""
    stat = os.statvfs(disk)
    with (disk / "ballast").open("wb") as file:
        file.write(bytes(max(0, stat.f_bavail * stat.f_frsize - free)))


def assert_fails(settings: Settings, *says: str) -> None:
    """The run fails like this; what is published still verifies, and nothing is left of the run."""
    before = current_snapshot(settings.export_dir)
    assert before is not None
    files = sorted(path for path in settings.export_dir.rglob("*") if path.suffix in {".parquet", ".duckdb"})
    with pytest.raises(ExportError) as caught:
        run_export(settings)
    assert_says(caught.value, *says)
    assert current_snapshot(settings.export_dir) == before
    verify_snapshot(before)
    now = sorted(
        path for path in (settings.export_dir / "snapshots").rglob("*") if path.suffix in {".parquet", ".duckdb"}
    )
    assert now == [path for path in files if "snapshots" in path.parts]


def test_too_little_room_is_seen_before_a_row_is_read(
    source: Database, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_for(source, disk)
    export(settings)
    grow(source)
    run_sql(source, "VACUUM FULL domains")
    with monkeypatch.context() as patch:
        patch.setattr(extraction, "read_query", lambda *_: pytest.fail("a row was read"))
        fill(disk, free=4 * MEGABYTE)
        assert_fails(settings, "too little room", "bytes free", "lei-exports prune", "EXPORT_DIR")
    assert len(list((disk / "staging").glob("*/"))) == 1
    (disk / "ballast").unlink()
    export(settings)


def test_what_did_not_change_needs_no_room(source: Database, disk: Path) -> None:
    settings = settings_for(source, disk, segment_size=100)
    grow(source)
    fill(disk, free=9 * MEGABYTE)
    with pytest.raises(StagingError, match="too little room"):
        run_export(settings)
    (disk / "ballast").unlink()
    run_sql(source, "UPDATE domains SET hero_section_content = NULL", "VACUUM FULL domains")
    export(settings)
    run_sql(source, "UPDATE domains SET retry_count = 1 WHERE id = 7")
    fill(disk, free=9 * MEGABYTE)
    assert export(settings).manifest.changed_segments == ("00000000",)


# What is written right after each of these.
MOMENTS = {
    "staging": "pipelines.run.extraction.require_room",
    "parquet": "pipelines.run.export.build_tables",
    "derived tables": "pipelines.run.export.build_derived_tables",
    "duckdb": "pipelines.publish.assembly.add_database",
    "manifest": "pipelines.publish.assembly.write_manifest",
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_a_disk_that_fills_up_at_any_step(
    source: Database, disk: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    settings = settings_for(source, disk)
    export(settings)
    grow(source)
    module, _, name = MOMENTS[moment].rpartition(".")
    real = getattr(sys.modules[module], name)

    def full(*arguments: Any, **options: Any) -> Any:
        fill(disk, free=0)
        return real(*arguments, **options) if moment != "staging" else None

    with monkeypatch.context() as patch:
        patch.setattr(MOMENTS[moment], full)
        assert_fails(settings, "Way out: ")
    (disk / "ballast").unlink()
    verify_snapshot(export(settings))


AS_NOBODY = """
import sys
from pathlib import Path
from typing import Any
from pydantic import SecretStr
from pipelines.errors import ExportError
from pipelines.run.export import run_export
from pipelines.settings import load_settings
try:
    run_export(load_settings({"database_url": SecretStr(sys.argv[1]), "export_dir": Path(sys.argv[2])}))
except ExportError as error:
    print(error)
    sys.exit(1)
"""


def test_a_folder_that_can_not_be_written_to(source: Database, tmp_path: Path) -> None:
    """Root writes anywhere, so as root the run is nobody's, who may read everything (the virtual environment)."""
    settings = settings_for(source, tmp_path / "exports")
    export(settings)
    before = current_snapshot(settings.export_dir)
    assert before is not None
    command = [sys.executable, "-c", AS_NOBODY, source.url, str(settings.export_dir)]
    if os.geteuid() == 0:
        capability = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        command = [need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", *capability, *command]
    folders = [path for path in (settings.export_dir, *settings.export_dir.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = subprocess.run(
            command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False, timeout=60
        )
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert str(settings.export_dir) in done.stdout
    assert "Way out: " in done.stdout
    assert "writ" in done.stdout
    assert current_snapshot(settings.export_dir) == before
    verify_snapshot(before)
