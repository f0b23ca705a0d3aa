"""The README's start, as it stands there: its commands, run in an empty folder, lead from nothing to a chart."""

import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.orchestration, pytest.mark.standard]

ROOT = Path(__file__).resolve().parents[2]
START = re.compile(r"^## Start\n.*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z-]+):(?:.*## (.+))?", re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What the commands need of a checkout; they use the programs of this test's environment, and install nothing."""
    (tmp_path / "tests").mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "tests/duckdb14.lock"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (tmp_path / ".venv" / ".installed").touch()
    return tmp_path


def run(command: str, folder: Path, **environment: str) -> str:
    """Output of a command of the README; nothing of this shell's environment but PATH and HOME reaches it.

    The program of this test's environment would use the `data/` of its own checkout.
    """
    clean = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    places = {"EXPORT_DIR": "data/exports", "EMBEDDED_DIR": "data/postgres", "DAGSTER_HOME": "data/dagster_home"}
    done = subprocess.run(
        ["sh", "-c", command],
        cwd=folder,
        env={**clean, **places, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert "Installing" not in done.stdout
    return done.stdout


def test_the_start_leads_from_nothing_to_a_chart(folder: Path) -> None:
    """The browser is a script that notes what it is to open."""
    browser = folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n', encoding="utf-8")
    browser.chmod(0o755)
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = START.search(readme)
    assert start is not None
    assert start[1].splitlines() == ["make export", "make test"]
    assert "`make report` draws" in readme
    for command in ("make export", "make report"):
        run(command, folder, BROWSER=str(browser))
    assert "pytest" in run("make --dry-run test", folder), "this very suite"
    address = (folder / "opened").read_text(encoding="utf-8").strip()
    assert urlsplit(address).scheme == "file"
    page = Path(unquote(urlsplit(address).path)).read_text(encoding="utf-8")
    assert page.count("<svg") >= 8


def test_make_alone_lists_every_command(folder: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name: what for name, what in TARGET.findall(makefile) if name}
    assert all(targets.values()), "a target without a description"
    listed = [line.split(maxsplit=1) for line in run("make", folder).splitlines()]
    assert listed == [[name, what] for name, what in targets.items()]
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert phony[1].split() == list(targets)
