"""A disk that is full, too small, or not ours: seen before the read where it can be, and nothing is half published."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import ExportError, StagingError
from pipelines.export import run_export
from pipelines.settings import Settings
from pipelines.snapshots.opening import current_snapshot, published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from pipelines.source import read_range
from tests.exporting import export, settings_for
from tests.faults.kit import fill, need, small_disk
from tests.forking import LEI_EXPORTS, run_program
from tests.integration.kit import ROW_MARK, assert_says, run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.extended]

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
    with small_disk(tmp_path / "disk", "48m") as folder:
        yield folder


def assert_fails(settings: Settings, *says: str) -> None:
    """The run fails like this; what is published still verifies, and nothing is left of the run."""
    before = published_snapshot(settings.export_dir)
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
        patch.setattr(read_range, "read_query", lambda *_: pytest.fail("a row was read"))
        fill(disk, free=4 * MEGABYTE)
        assert_fails(settings, "too little room", "bytes free", "no older snapshot is left", "EXPORT_DIR")
    # The staging of the published snapshot went: that was all that could go.
    assert list((disk / "staging").glob("*/")) == []
    (disk / "ballast").unlink()
    export(settings)


def stagings(settings: Settings) -> int:
    return len(list((settings.export_dir / "staging").glob("*/")))


def test_runs_that_fail_after_the_read_do_not_fill_the_disk(
    source: Database, disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six of them kept a copy of the source each, and no run could start any more."""
    settings = settings_for(source, disk)
    grow(source)
    first = export(settings)

    def fail(*_: Any, **__: Any) -> Any:
        raise ExportError("The build failed", fix="a test")

    with monkeypatch.context() as patch:
        patch.setattr("pipelines.export.build_tables", fail)
        for _ in range(6):
            run_sql(source, "UPDATE domains SET retry_count = coalesce(retry_count, 0) + 1")
            with pytest.raises(ExportError, match="The build failed"):
                run_export(settings)
            assert stagings(settings) <= 2
    # Room for what is read and built, but not beside the staging of the run that failed.
    free = 13 * MEGABYTE
    fill(disk, free=free)
    second = export(settings)
    assert second.manifest.sequence == first.manifest.sequence + 1
    assert stagings(settings) == 1


def test_the_advice_of_a_full_disk_makes_room(source: Database, disk: Path) -> None:
    settings = settings_for(source, disk)
    grow(source)
    for number in range(3):
        run_sql(source, f"UPDATE domains SET retry_count = {number}")
        export(settings)
    run_sql(source, "UPDATE domains SET retry_count = 7")
    fill(disk, free=9 * MEGABYTE)
    with pytest.raises(StagingError, match="too little room") as caught:
        run_export(settings)
    command, freed = re.findall(r"`lei-exports (.*)` frees ([0-9,]+) bytes", caught.value.fix)[0]
    before = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    operator = [LEI_EXPORTS, *command.split()]
    done = subprocess.run(
        operator, env={**os.environ, "EXPORT_DIR": str(disk)}, check=True, capture_output=True, text=True
    )
    assert "Deleted" in done.stdout
    after = os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize
    assert after - before >= int(freed.replace(",", "")) * 0.9
    verify_snapshot(export(settings))


TAKEN = {
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
}


@pytest.mark.parametrize("name", ["switches.jsonl", "last_checked.json", "rollback.json", ".publish.lock", "snapshots"])
def test_a_name_that_is_taken_is_seen_before_a_row_is_read(
    source: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    settings, path = settings_for(source, tmp_path), tmp_path / name
    for what, take in TAKEN.items():
        if (name, what) == ("snapshots", "a folder"):
            continue
        take(path)
        with monkeypatch.context() as patch:
            patch.setattr(read_range, "read_query", lambda *_: pytest.fail("a row was read"))
            with pytest.raises(ExportError) as caught:
                run_export(settings)
        assert_says(caught.value, str(path))
        path.rmdir() if path.is_dir() else path.unlink()
    verify_snapshot(export(settings))


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
    assert export(settings).manifest.changed_segments == ("000000",)


# What is written right after each of these.
MOMENTS = {
    "staging": "pipelines.build.extraction.require_free_space",
    "parquet": "pipelines.export.build_tables",
    "derived tables": "pipelines.export.build_derived_tables",
    "duckdb": "pipelines.snapshots.assembly.add_database",
    "manifest": "pipelines.snapshots.assembly.write_manifest",
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
        assert_fails(settings, "Fix: ")
    (disk / "ballast").unlink()
    verify_snapshot(export(settings))


AS_NOBODY = """
import sys
from pathlib import Path
from typing import Any
from pydantic import SecretStr
from pipelines.errors import ExportError
from pipelines.export import run_export
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
    before = published_snapshot(settings.export_dir)
    command = [sys.executable, "-c", AS_NOBODY, source.url, str(settings.export_dir)]
    if os.geteuid() == 0:
        capability = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        command = [need("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups", *capability, *command]
    folders = [path for path in (settings.export_dir, *settings.export_dir.rglob("*")) if path.is_dir()]
    for folder in folders:
        folder.chmod(0o555)
    try:
        done = run_program(command, cwd=Path(__file__).parents[2], timeout=240)
    finally:
        for folder in folders:
            folder.chmod(0o755)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert str(settings.export_dir) in done.stdout
    assert "Fix: " in done.stdout
    assert "writ" in done.stdout
    assert current_snapshot(settings.export_dir) == before
    verify_snapshot(before)
