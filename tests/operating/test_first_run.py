"""What a newcomer sees of `lei-exports run` on a terminal, with the sample: bars, the summary, Ctrl-C, an error."""

import json
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from assets.cli.commands import app
from assets.defs.definitions import build_definitions
from pipelines.snapshots.opening import published_snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.forking import LEI_EXPORTS
from tests.operating.kit import webhook
from tests.oracle.postgres import Database
from tests.terminal import Shown, broken_words, show

pytestmark = [pytest.mark.integration, pytest.mark.orchestration, pytest.mark.standard]

STAGES = ("Reading PostgreSQL", "Building tables", "Summarizing", "Publishing")
BAR = re.compile(r"^(\w[\w ]+?) +━{8} +(\d+) %( .+)?$")
QUERY = re.compile(r'\S*lei-exports query "[^"]+"')
PLACES = {"EXPORT_DIR": "exports", "DAGSTER_HOME": "home", "EMBEDDED_DIR": "postgres"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("newcomer")


@pytest.fixture(scope="module")
def first_run_and_alerts(folder: Path) -> tuple[Shown, list[dict[str, Any]]]:
    with webhook() as hook:
        return show(["run"], folder, {**PLACES, "ALERT_WEBHOOK_URL": hook.url}), hook.alerts


@pytest.fixture(scope="module")
def first_run(first_run_and_alerts: tuple[Shown, list[dict[str, Any]]]) -> Shown:
    return first_run_and_alerts[0]


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


def test_it_publishes_the_sample_and_posts_it(
    first_run_and_alerts: tuple[Shown, list[dict[str, Any]]], folder: Path
) -> None:
    shown, alerts = first_run_and_alerts
    snapshot = published_snapshot(folder / PLACES["EXPORT_DIR"])
    verify_snapshot(snapshot)
    assert snapshot.manifest.source.identity == "sample"
    assert [(alert["kind"], alert["snapshot_id"]) for alert in alerts] == [("success", snapshot.manifest.id)]
    for name in (snapshot.manifest.id, *(table.name for table in snapshot.manifest.tables)):
        assert name in shown.text
    assert "telemetry:\n  enabled: false" in (folder / PLACES["DAGSTER_HOME"] / "dagster.yaml").read_text()


def fact(shown: Shown, label: str) -> str:
    """What stands behind a label, on one line."""
    found = re.search(rf"^{label} +(.*(?:\n {{10}}.*)*)", shown.text, re.MULTILINE)
    assert found is not None, shown.text
    return " ".join(found[1].split())


def test_the_summary_says_what_it_means_and_what_to_do_next(first_run: Shown) -> None:
    assert "sample has faults on purpose" in fact(first_run, "Source")
    assert "domains: 62 rows gleif_candidates: 127 rows" in fact(first_run, "Source")
    warnings = re.findall(r"^Warning +(\w+) does not\b", first_run.text, re.MULTILINE)
    assert len(warnings) == 8
    assert "level2_count_agrees does not hold in 5 of 51 rows of domain_exports: where the source has" in re.sub(
        r"\s+", " ", first_run.text
    )
    assert fact(first_run, "Rejected").startswith("16 rows, in the table rejected_rows: orphan_candidate 4, ")
    assert fact(first_run, "Next").count("lei-exports ") == 3
    assert fact(first_run, "Next").endswith("whether it is healthy")


def test_its_commands_show_the_rows_when_they_are_pasted(
    first_run: Shown, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_DIR", str(folder / PLACES["EXPORT_DIR"]))
    commands = QUERY.findall(first_run.text)
    rows = [int(found.replace(",", "")) for found in re.findall(r"does not\s+hold\s+in\s+([\d,]+)", first_run.text)]
    assert len(commands) == len(rows) + 1
    for command, expected in zip(commands, [*rows, 16], strict=True):
        program, *arguments = shlex.split(command)
        assert Path(program) == LEI_EXPORTS, "the shell does not find it by its name"
        done = CliRunner().invoke(app, [*arguments, "--csv"], catch_exceptions=False)
        assert len(done.stdout.splitlines()) == expected + 1, command
    done = subprocess.run(["sh", "-c", commands[1]], cwd=folder, env={**os.environ}, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")


def test_terminal_status_report_and_dagster_say_the_same(
    first_run: Shown, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EXPORT_DIR", str(folder / PLACES["EXPORT_DIR"]))
    snapshot = published_snapshot(folder / PLACES["EXPORT_DIR"])
    report = re.sub(r"<[^>]+>|\s+", " ", (snapshot.folder / "report.html").read_text(encoding="utf-8"))
    status = CliRunner().invoke(app, ["status"], catch_exceptions=False).stdout
    passed = re.match(r"\d+ of (\d+)", fact(first_run, "Checks"))
    assert passed is not None
    assert f"Checks    {passed[0]} passed" in status
    assert f"{passed[0]} checks passed, 8 warnings." in report
    specs = build_definitions().resolve_asset_graph().asset_check_keys
    assert len(specs) == int(passed[1])
    took = fact(first_run, "Took").split(";")[0]
    assert took.endswith(" to read, build and verify")
    assert f"Took {took}" in " ".join(status.split())
    assert took in report
    for text in (first_run.text, status):
        assert f"{snapshot.manifest.id} (sequence 1)" in text
    assert "lei-exports, sequence 1" in report
    listed = CliRunner().invoke(app, ["snapshots"], catch_exceptions=False).stdout
    assert listed.split()[:2] == ["Snapshot", "sequence"]
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["checks"] == int(passed[1])


@pytest.mark.extended
@pytest.mark.usefixtures("first_run")
def test_a_run_in_a_wide_terminal_is_clean(folder: Path) -> None:
    shown = show(["run", "--full-refresh"], folder, PLACES, 120)
    assert shown.status == 0
    assert bars(shown) == dict.fromkeys(STAGES, 100)
    assert_clean(shown, 120)


@pytest.mark.usefixtures("first_run")
@pytest.mark.parametrize(
    ("columns", "stage"), [(80, "Publishing"), pytest.param(120, "Reading", marks=pytest.mark.extended)]
)
def test_ctrl_c_leaves_what_was_done_and_one_line(folder: Path, columns: int, stage: str) -> None:
    shown = show(["run", "--full-refresh"], folder, PLACES, columns, interrupt_at=stage)
    assert shown.status == 130
    shares = list(bars(shown).values())
    assert shares[:-1] == [100] * (len(shares) - 1)
    assert shares[-1] < 100, "what was interrupted is not done"
    after = shown.lines[max(number for number, line in enumerate(shown.lines) if "━" in line) + 1 :]
    assert after[0].startswith("Error: Interrupted. Run ")
    assert len(after) <= 2
    assert_clean(shown, columns)
    status = show(["status"], folder, PLACES, columns)
    assert "The last run was interrupted at 20" in fact(status, "Last run")
    assert broken_words(status, columns) == []


@pytest.mark.usefixtures("first_run")
@pytest.mark.parametrize("columns", [80, pytest.param(120, marks=pytest.mark.extended)])
def test_a_failure_has_its_parts_on_lines_of_their_own(folder: Path, database: Database, columns: int) -> None:
    shown = show(["run"], folder, {**PLACES, "DATABASE_URL": database.url, "SOURCE_SCHEMA": "none"}, columns)
    assert shown.status == 1
    assert 100 not in bars(shown).values()
    starts = [line for line in shown.lines if re.match(r"Error: |  \w[\w ]+: ", line)]
    assert [line.split(":")[0].strip() for line in starts] == ["Error", "expected", "found", "fix", "Error"]
    assert "Found:" not in shown.text
    assert_clean(shown, columns)
