"""How far a run is, while it runs: from the server's own counters, on a terminal and in a file."""

import io
import signal
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from assets.cli.console import LiteralConsole
from assets.cli.terminal import ProgressView, describe_progress
from assets.defs.resources import report_to
from pipelines.export import run_export
from pipelines.progress import Progress
from tests.exporting import settings_for
from tests.integration.kit import make_slow
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = pytest.mark.fast

ROWS = 60
ROOM = 46


@pytest.mark.integration
def test_rows_are_told_while_a_read_runs(database: Database, tmp_path: Path) -> None:
    """Each table is one query here, so that without the server's counters nothing would be told before its end."""
    with database.connect() as connection:
        create_source_tables(connection)
        domains = [{"id": n, "domain": f"d{n}.example", "status": "success", "batch_id": "b"} for n in range(ROWS)]
        insert_source(connection, domains, [{"id": n, "domain_id": n, "lei_code": "X"} for n in range(ROWS)])
    make_slow(database, 0.05)  # for 3 s; it is looked at each half second, on a busy machine not so often
    reported: list[Progress] = []
    run_export(settings_for(database, tmp_path, read_connections=2), on_progress=reported.append)
    read = [message for message in reported if message.stage == "read"]
    done = [message.done for message in read]
    assert done == sorted(done), "what was told is never taken back"
    assert done[-1] == 2 * ROWS
    assert any(0 < count < ROWS for count in done), done
    assert all(message.total in {0, 2 * ROWS} for message in read)


def test_what_is_counted_is_said_with_its_rate_and_share() -> None:
    assert describe_progress(Progress("read", "domains", 1_500, 6_000), 0.5) == "1,500 of 6,000 rows, 3,000 rows/s"
    assert describe_progress(Progress("read", "domains", 1_500), 0.5) == "1,500 rows, 3,000 rows/s"
    assert describe_progress(Progress("summarize", "entities", 1, 7), 0.5) == "1 of 7 parts"
    assert describe_progress(Progress("publish", "both formats verified"), 9) == ""
    assert describe_progress(Progress("read", "domains", 1_500), 0.1) == "1,500 rows", "a rate so soon is noise"
    longest = describe_progress(Progress("read", "gleif_candidates", 99_142_760, 99_142_760), 100)
    assert len(longest) <= ROOM, "bars of 80 columns have so much room"


def show(console: Console) -> None:
    with ProgressView(console) as view:
        for done in range(0, 5_000_001, 1_000_000):
            view.show(Progress("read", "gleif_candidates", done, 5_000_000))
        view.show(Progress("publish", "[bold]not markup"))


def test_a_file_gets_a_line_when_a_stage_begins_and_ends() -> None:
    file = io.StringIO()
    show(Console(file=file, width=80))
    lines = file.getvalue().splitlines()
    assert lines[0] == "Reading PostgreSQL: gleif_candidates"
    assert lines[1] == "Reading PostgreSQL: 5,000,000 of 5,000,000 rows, gleif_candidates"
    assert lines[2:] == ["Publishing: [bold]not markup"]


def test_a_terminal_gets_bars_that_fit_into_80_columns() -> None:
    file = io.StringIO()
    show(Console(file=file, width=80, force_terminal=True, legacy_windows=False, color_system=None))
    last = file.getvalue().splitlines()[-3:]
    assert any("Reading PostgreSQL" in line and "100 %" in line and "5,000,000 of" in line for line in last), last
    assert any("Publishing" in line and "[bold]not markup" in line for line in last), last


class ReplacedTerminal(io.StringIO):
    """A terminal until something else is put in its place, as Dagster does to keep what a step prints."""

    is_replaced = False

    def isatty(self) -> bool:
        return not self.is_replaced


def test_bars_stay_bars_when_the_terminal_is_replaced() -> None:
    file = ReplacedTerminal()
    console = LiteralConsole(file=file, width=80)
    file.is_replaced = True
    show(console)
    assert "━" in file.getvalue()
    assert "Reading PostgreSQL: " not in file.getvalue(), "a line among the bars"


class PressesCtrlC(io.StringIO):
    """A terminal at which Ctrl-C is pressed right after a write, before the writer knows."""

    def __init__(self, at_write: int) -> None:
        super().__init__()
        self._writes_left = at_write

    def write(self, text: str) -> int:
        written = super().write(text.replace("\n", "\r\n"))
        self._writes_left -= 1
        if self._writes_left == 0:
            signal.raise_signal(signal.SIGINT)
        return written


@pytest.mark.parametrize("at_write", range(2, 6))
def test_ctrl_c_while_bars_are_drawn_leaves_each_once(at_write: int) -> None:
    file = PressesCtrlC(at_write)
    with pytest.raises(KeyboardInterrupt):
        show(Console(file=file, width=80, force_terminal=True, legacy_windows=False, color_system=None))
    screen = pyte.Screen(80, 24)
    pyte.Stream(screen).feed(f"above\r\n{file.getvalue()}")
    lines = [line for line in screen.display if line.strip()]
    stages = [line.split("  ")[0].split(" ━")[0].strip() for line in lines]
    assert stages == ["above", "Reading PostgreSQL", "Publishing"][: len(stages)], lines


def test_the_log_of_a_dagster_run_has_the_switch_however_soon_it_comes() -> None:
    said: list[str] = []
    on_progress = report_to(said.append)
    on_progress(Progress("publish", "both formats verified"))
    on_progress(Progress("publish", "current is snapshot X", published="X"))
    assert said == ["publish: current is snapshot X"]
