"""A folder in which the commands of the documents run as in a fresh checkout, and the blocks that they stand in."""

import re
import sys
from pathlib import Path

from tests.forking import clean_environment, run_program

ROOT = Path(__file__).resolve().parents[2]
# Relative, as a checkout has them; the program of this test's environment would use the `data/` of its own checkout.
PLACES = {"EXPORT_DIR": "data/exports", "EMBEDDED_DIR": "data/postgres", "DAGSTER_HOME": "data/dagster_home"}
_BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def make_checkout(folder: Path) -> Path:
    """What the commands need of a checkout; they use the programs of this test's environment, and install nothing."""
    (folder / "tests").mkdir()
    for name in ("Makefile", "requirements.lock", "pyproject.toml", "tests/duckdb14.lock"):
        (folder / name).symlink_to(ROOT / name)
    (folder / ".venv").mkdir()
    (folder / ".venv" / "bin").symlink_to(Path(sys.prefix) / "bin")
    (folder / ".venv" / ".installed").touch()
    return folder


def make_browser(folder: Path) -> Path:
    """A browser that only writes the address that it is given to `opened` in that folder."""
    browser = folder / "browser"
    browser.write_text('#!/bin/sh\necho "$1" > opened\n', encoding="utf-8")
    browser.chmod(0o755)
    return browser


def environment_of(**variables: str) -> dict[str, str]:
    """Nothing of this shell's environment but PATH and HOME, and folders as a checkout has them."""
    return clean_environment(**{**PLACES, **variables})


def run(command: str, folder: Path, **variables: str) -> str:
    """Output of a command of a document, which must succeed."""
    done = run_program(["sh", "-c", command], cwd=folder, env=environment_of(**variables), timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Installing" not in done.stdout
    return done.stdout


def steps(document: Path) -> list[tuple[str, list[str]]]:
    """Each `sh` block of a document, and the lines of the `text` block after it: what its output must hold."""
    found: list[tuple[str, list[str]]] = []
    for language, text in _BLOCK.findall(document.read_text(encoding="utf-8")):
        if language == "sh":
            found.append((text, []))
        else:
            found[-1][1].extend(text.splitlines())
    return found
