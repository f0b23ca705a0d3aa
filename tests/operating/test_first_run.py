"""What a newcomer sees of `lei-exports run` on a terminal, with the sample: bars, the summary, Ctrl-C, an error."""

import re
from pathlib import Path

import pytest

from tests.oracle.postgres import Database
from tests.terminal import Shown, broken_words, show

pytestmark = [pytest.mark.integration, pytest.mark.orchestration, pytest.mark.standard]

STAGES = ("Reading PostgreSQL", "Building tables", "Summarizing", "Publishing")
BAR = re.compile(r"^(\w[\w ]+?) +━{8} +(\d+) %( .+)?$")
PLACES = {"EXPORT_DIR": "exports", "DAGSTER_HOME": "home", "EMBEDDED_DIR": "postgres"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


@pytest.fixture(scope="module")
def first_run(folder: Path) -> Shown:
    return show(["run"], folder, PLACES)


def bars(shown: Shown) -> dict[str, int]:
    """Percentages of the bars by stage; they stand together, each once, and no other line has the name of a stage.

    Before them only the embedded PostgreSQL says something, where it runs as root.
    """
    drawn = [number for number, line in enumerate(shown.lines) if "━" in line]
    found = [BAR.match(shown.lines[number]) for number in drawn]
    assert None not in found, f"a line is mixed: {shown.text}"
    stages = [bar[1] for bar in found if bar]
    assert stages == list(STAGES[: len(stages)]), f"a bar twice: {shown.text}"
    assert drawn == list(range(min(drawn, default=0), max(drawn, default=-1) + 1)), f"a bar apart: {shown.text}"
    assert sum(stage in line for stage in STAGES for line in shown.lines) == len(stages), shown.text
    return {bar[1]: int(bar[2]) for bar in found if bar}


def assert_clean(shown: Shown, columns: int) -> None:
    assert broken_words(shown, columns) == []
    assert "Traceback" not in shown.text
    assert shown.sent.rindex("\x1b[?25h") > shown.sent.rindex("\x1b[?25l"), "the cursor is hidden"


def test_the_first_run_is_clean(first_run: Shown) -> None:
    assert first_run.status == 0
    assert bars(first_run) == dict.fromkeys(STAGES, 100)
    assert_clean(first_run, 80)


@pytest.mark.usefixtures("first_run")
def test_a_run_in_a_wide_terminal_is_clean(folder: Path) -> None:
    shown = show(["run", "--full-refresh"], folder, PLACES, 120)
    assert shown.status == 0
    assert bars(shown) == dict.fromkeys(STAGES, 100)
    assert_clean(shown, 120)


@pytest.mark.usefixtures("first_run")
@pytest.mark.parametrize(("columns", "stage"), [(80, "Publishing"), (120, "Reading")])
def test_ctrl_c_leaves_what_was_done_and_one_line(folder: Path, columns: int, stage: str) -> None:
    shown = show(["run", "--full-refresh"], folder, PLACES, columns, interrupt_at=stage)
    assert shown.status == 130
    shares = list(bars(shown).values())
    assert shares[:-1] == [100] * (len(shares) - 1)
    assert shares[-1] < 100, "what was interrupted is not done"
    assert shown.lines[len(shares)].startswith("Error: Interrupted. Run ")
    assert len(shown.lines) <= len(shares) + 2
    assert_clean(shown, columns)


@pytest.mark.usefixtures("first_run")
@pytest.mark.parametrize("columns", [80, 120])
def test_a_failure_has_its_parts_on_lines_of_their_own(folder: Path, database: Database, columns: int) -> None:
    shown = show(["run"], folder, {**PLACES, "DATABASE_URL": database.url, "SOURCE_SCHEMA": "none"}, columns)
    assert shown.status == 1
    assert 100 not in bars(shown).values()
    starts = [line for line in shown.lines if re.match(r"Error: |  \w[\w ]+: ", line)]
    assert [line.split(":")[0].strip() for line in starts] == ["Error", "found", "way out", "Error"], shown.text
    assert "Found:" not in shown.text
    assert_clean(shown, columns)
