"""Where data lies that no setting gives a place."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.errors import SettingsError
from pipelines.serving.settings import ServingSettings
from pipelines.settings import load_settings
from tests.forking import run_program

pytestmark = pytest.mark.fast

ROOT = Path(__file__).resolve().parents[2]
SHOW = """
from pipelines.settings import load_settings
settings = load_settings()
print(settings.export_dir, settings.embedded_dir, settings.dagster_home, sep="\\n")
"""
LOAD = "from assets.cli.start import main; main()"
NO_ACCOUNT = 54321


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder as site-packages is: both packages, and nothing else of a checkout."""
    folder = tmp_path / "site-packages"
    for package in ("pipelines", "assets"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def run(code: str, *arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return run_program(
        [sys.executable, "-P", "-c", code, *arguments],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], **environment},
        timeout=240,
    )


def test_a_checkout_has_it_in_data_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EXPORT_DIR", "EMBEDDED_DIR", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    for folder in (ROOT / "docs", tmp_path):
        monkeypatch.chdir(folder)
        settings = load_settings()
        assert settings.export_dir == ServingSettings.load().export_dir == ROOT / "data" / "exports"
        assert settings.embedded_dir == ROOT / "data" / "postgres"
        assert settings.dagster_home == ROOT / "data" / "dagster_home"


def test_a_folder_that_is_named_is_taken_from_where_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EXPORT_DIR", "mine")
    assert load_settings().export_dir == tmp_path / "mine"


@pytest.mark.parametrize("name", ["what?", "a\\b"])
@pytest.mark.parametrize("settings", [load_settings, ServingSettings.load])
def test_a_folder_that_duckdb_can_not_use_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: Callable[[], object]
) -> None:
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path / name))
    with pytest.raises(SettingsError, match=r"EXPORT_DIR: .* without \? and \\") as caught:
        settings()
    assert name not in str(caught.value)
    (tmp_path / "link").symlink_to(name)
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path / "link"))
    with pytest.raises(SettingsError, match=r"EXPORT_DIR"):
        settings()
    monkeypatch.delenv("EXPORT_DIR")
    monkeypatch.setattr("pipelines.system.environment._CODE", tmp_path / name)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / name))
    with pytest.raises(SettingsError, match=r"EXPORT_DIR"):
        settings()


@pytest.mark.parametrize("setting", ["EXPORT_DIR", "EMBEDDED_DIR", "DAGSTER_HOME"])
def test_a_folder_whose_name_is_no_utf8_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    name = os.fsdecode(b"a\xffb")
    monkeypatch.setenv(setting, str(tmp_path / name))
    with pytest.raises(SettingsError, match=f"{setting}: .*must be a path in UTF-8") as caught:
        load_settings()
    assert str(caught.value).isprintable()
    (tmp_path / "link").symlink_to(name)
    monkeypatch.setenv(setting, str(tmp_path / "link"))
    with pytest.raises(SettingsError, match=setting):
        load_settings()


@pytest.mark.parametrize(
    ("setting", "load"),
    [
        ("EXPORT_DIR", load_settings),
        ("EMBEDDED_DIR", load_settings),
        ("DAGSTER_HOME", load_settings),
        ("EXPORT_DIR", ServingSettings.load),
        ("API_CACHE_DIR", ServingSettings.load),
    ],
)
def test_the_home_of_nobody_is_refused(
    monkeypatch: pytest.MonkeyPatch, setting: str, load: Callable[[], object]
) -> None:
    monkeypatch.setenv(setting, "~nosuchuser/x")
    with pytest.raises(SettingsError, match=f"{setting}: .*names no home folder"):
        load()


@pytest.mark.parametrize("command", ["run", "doctor"])
def test_a_locale_without_utf8_is_named(tmp_path: Path, command: str) -> None:
    ascii_only = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    places = {name: str(tmp_path / "f\u00f6" / name) for name in ("EXPORT_DIR", "EMBEDDED_DIR", "DAGSTER_HOME")}
    done = run(LOAD, command, cwd=tmp_path, HOME=str(tmp_path), **ascii_only, **places)
    said = done.stdout + done.stderr
    assert done.returncode == 1
    assert "EXPORT_DIR: Value error, must be a path in UTF-8" in said
    assert "LC_ALL=C.UTF-8" in said
    assert said.isascii()
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("xdg", "place"),
    [
        ({}, "home/.local/share/lei-exports"),
        ({"XDG_DATA_HOME": ""}, "home/.local/share/lei-exports"),
        ({"XDG_DATA_HOME": "relative"}, "home/.local/share/lei-exports"),
        ({"XDG_DATA_HOME": "{}/xdg"}, "xdg/lei-exports"),
    ],
)
def test_installed_it_is_the_data_folder_of_the_user(
    installed: Path, tmp_path: Path, xdg: dict[str, str], place: str
) -> None:
    given = {name: value.format(tmp_path) for name, value in xdg.items()}
    done = run(SHOW, cwd=ROOT, PYTHONPATH=str(installed), HOME=str(tmp_path / "home"), **given)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / place
    assert done.stdout.split() == [str(folder / name) for name in ("exports", "postgres", "dagster_home")]
    assert not folder.exists(), "asked for is not made"


@pytest.mark.parametrize(
    "command",
    [["run"], ["doctor"], *(pytest.param(one, marks=pytest.mark.extended) for one in (["ui"], ["sample", "load"]))],
    ids=" ".join,
)
def test_it_is_named_before_it_is_made(installed: Path, tmp_path: Path, command: list[str]) -> None:
    """Here it can't be made: the name stands before that error."""
    (tmp_path / "home").touch()
    done = run(LOAD, *command, cwd=tmp_path, PYTHONPATH=str(installed), HOME=str(tmp_path / "home"))
    assert done.returncode == 1
    place = tmp_path / "home" / ".local" / "share" / "lei-exports"
    assert done.stderr.startswith(f"Data goes to {place}, which is made now. EXPORT_DIR, EMBEDDED_DIR and DAGSTER_HOME")
    assert "Traceback" not in done.stderr
    assert "Not a directory" in done.stderr + done.stdout


def test_what_is_chosen_is_not_named(installed: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    places = dict.fromkeys(("EXPORT_DIR", "EMBEDDED_DIR", "DAGSTER_HOME"), str(tmp_path / "file" / "x"))
    done = run(LOAD, "run", cwd=tmp_path, PYTHONPATH=str(installed), HOME=str(tmp_path / "home"), **places)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: DAGSTER_HOME {tmp_path / 'file' / 'x'} can't be used")


def test_a_user_without_a_home_is_asked_for_folders(installed: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become an account that is in no list")
    become = f"import os, pipelines.settings; os.setgid({NO_ACCOUNT}); os.setuid({NO_ACCOUNT})"
    done = run(f"{become}{SHOW}", cwd=tmp_path, PYTHONPATH=str(installed))
    assert done.returncode == 1
    assert "SettingsError: There is no folder for data" in done.stderr
    assert "set EXPORT_DIR, EMBEDDED_DIR and DAGSTER_HOME" in done.stderr


def test_another_package_of_the_name_is_said_to_hide_ours(installed: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / "pipelines"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    path = os.pathsep.join((str(other.parent), str(installed)))
    done = run(LOAD, "status", cwd=tmp_path, PYTHONPATH=path)
    assert (done.returncode, done.stdout) == (1, "")
    assert "Another package named pipelines hides the one of lei-exports" in done.stderr
    assert str(other) in done.stderr
    assert "Traceback" not in done.stderr
