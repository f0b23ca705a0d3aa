"""The README's commands, as they stand there: two lead from nothing to a chart, the others work after them."""

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.docs.kit import ROOT, make_browser, make_checkout, run

pytestmark = [pytest.mark.integration, pytest.mark.orchestration, pytest.mark.standard]

START = re.compile(r"^## Start\n.*?^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
TARGET = re.compile(r"^([a-z-]+):(?:.*## (.+))?", re.MULTILINE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_checkout(tmp_path_factory.mktemp("checkout"))


@pytest.fixture(scope="module")
def started(folder: Path) -> list[str]:
    """The commands of the start, of which the first was run."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    start = START.search(readme)
    assert start is not None
    commands = start[1].splitlines()
    assert commands == ["make export", "make test"]
    assert "`make report` draws" in readme
    run(commands[0], folder)
    return commands


def test_the_start_leads_from_nothing_to_a_chart(folder: Path, started: list[str]) -> None:
    # The browser is a script that notes what it is to open.
    run("make report", folder, BROWSER=str(make_browser(folder)))
    assert "pytest" in run(f"make --dry-run {started[1].removeprefix('make ')}", folder), "this very suite"
    address = (folder / "opened").read_text(encoding="utf-8").strip()
    assert urlsplit(address).scheme == "file"
    page = Path(unquote(urlsplit(address).path)).read_text(encoding="utf-8")
    assert page.count("<svg") >= 8


@pytest.mark.extended
@pytest.mark.usefixtures("started")
def test_the_other_commands_work_in_the_same_shell(folder: Path) -> None:
    blocks = BLOCK.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    lines = [line for block in blocks[1:] for line in block.splitlines() if "DATABASE_URL=" not in line]
    assert lines[0] == ". .venv/bin/activate"
    lines = [line for line in lines if line not in {"make ui", "make serve"}]  # they do not end by themselves
    assert len(lines) > 5
    snapshot = (folder / "data" / "exports" / "current").resolve().name
    script = "\n".join(lines).replace("--after SNAPSHOT_ID", "--after 0").replace("SNAPSHOT_ID", snapshot)
    said = run(f"set -e\n{script}\necho the end", folder)
    assert said.endswith("the end\n")
    assert f"Snapshot {snapshot} is what was published" in said


def test_make_alone_lists_every_command(folder: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {name: what for name, what in TARGET.findall(makefile) if name}
    assert all(targets.values()), "a target without a description"
    listed = [line.split(maxsplit=1) for line in run("make", folder).splitlines()]
    assert listed == [[name, what] for name, what in targets.items()]
    phony = re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)
    assert phony is not None
    assert phony[1].split() == list(targets)
