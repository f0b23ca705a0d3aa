"""The console script as a person runs it: exit status, words, and nothing secret in them."""

import importlib.metadata
import re
import subprocess
from pathlib import Path

import dagster as dg
import pytest

from assets.cli.home import require_readable_home
from assets.cli.launch import prepare_home
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import SettingsError
from pipelines.settings import load_settings
from tests.forking import run_command
from tests.operating.kit import SECRET, webhook

pytestmark = [pytest.mark.orchestration, pytest.mark.standard]

VERSION = importlib.metadata.version("lei-exports")


def lei_exports(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command, its data in `data/` of the folder."""
    places = {"EXPORT_DIR": "data/exports", "EMBEDDED_DIR": "data/postgres", "DAGSTER_HOME": "data/dagster_home"}
    return run_command(arguments, cwd, {**places, **environment})


@pytest.mark.extended
def test_csv_files_can_be_loaded_and_exported(tmp_path: Path) -> None:
    folder = tmp_path / "dump"
    folder.mkdir()
    (folder / "domains.csv").write_text("id,domain,status,batch_id,extra\n7,a.example,success,b,x\n", encoding="utf-8")
    (folder / "gleif_candidates.csv").write_text("id,domain_id,lei_code,legal_name\n1,7,A,B\n", encoding="utf-8")
    loaded = lei_exports("sample", "load", "--from", str(folder), cwd=tmp_path)
    assert loaded.returncode == 0, loaded.stderr
    assert "domains: 1 rows" in loaded.stdout
    done = lei_exports("run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "left out: extra" in done.stdout


def test_a_server_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    secret = "s3cr3t-pass"
    url = f"postgresql://someone:{secret}@127.0.0.1:1/nowhere"
    with webhook([410]) as hook:
        done = lei_exports("run", cwd=tmp_path, DATABASE_URL=url, ALERT_WEBHOOK_URL=hook.url)
    assert [alert["kind"] for alert in hook.alerts] == ["failure"]
    assert "nothing listens there" in hook.alerts[0]["reason"]
    assert "could not be posted to ALERT_WEBHOOK_URL. Found: status 410" in done.stderr
    assert done.returncode == 1
    assert "nothing listens there" in done.stderr
    assert "fix" in done.stderr.lower()
    everything = done.stdout + done.stderr + str(hook.alerts)
    for path in (tmp_path / "data").rglob("*"):
        if path.is_file():
            everything += path.read_bytes().decode("utf-8", "replace")
    assert secret not in everything
    assert SECRET not in everything
    assert "postgresql://someone" not in everything
    assert not (tmp_path / "data" / "exports" / "current").exists()


def test_wrong_usage_and_wrong_settings(tmp_path: Path) -> None:
    done = lei_exports("run", "--no-such-option", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.splitlines() == [
        "Error: No such option: --no-such-option",
        "  expected: lei-exports run [OPTIONS]",
        "  fix: see `lei-exports run --help`",
    ]
    assert lei_exports("--version", cwd=tmp_path).stdout == f"lei-exports {VERSION}, contract {CONTRACT_VERSION}\n"
    done = lei_exports("run", cwd=tmp_path, KEEP_SNAPSHOTS="none")
    assert done.returncode == 1
    assert "KEEP_SNAPSHOTS" in done.stderr
    done = lei_exports("sample", "load", "--from", str(tmp_path / "nowhere"), cwd=tmp_path)
    assert done.returncode == 1
    assert "nowhere" in done.stderr


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("dagster.yaml", b"telemetry: \xff"),
        ("dagster.yaml", b"telemetry: ["),
        ("dagster.yaml", b"\x00"),
        ("dagster.yaml", b"- a list"),
        ("history/runs.db", b"damaged" * 1000),
        ("history/runs/index.db", b"damaged" * 1000),
        ("schedules/schedules.db", b"SQLite format 3\x00" + b"\xff" * 4080),
    ],
)
def test_a_damaged_file_of_dagster_is_named(tmp_path: Path, name: str, content: bytes) -> None:
    damaged = tmp_path / "home" / name
    damaged.parent.mkdir(parents=True)
    damaged.write_bytes(content)
    settings = load_settings({"dagster_home": tmp_path / "home", "export_dir": tmp_path / "exports"})
    with pytest.raises(SettingsError, match=f"{re.escape(str(damaged))} can't be read"):
        prepare_home(settings)


def test_a_home_that_is_in_use_is_readable(tmp_path: Path) -> None:
    with dg.instance_for_test(temp_dir=str(tmp_path)) as instance:
        instance.get_asset_records()
        require_readable_home(tmp_path)
        assert instance.get_run_ids() == []
