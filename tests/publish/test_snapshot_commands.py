"""The commands about snapshots, in this process: what they print, with which exit status."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from assets.cli.commands import main
from pipelines.snapshots.opening import list_snapshots
from tests.forking import LEI_EXPORTS, clean_environment, run_program
from tests.publish.kit import Kit, flip_a_byte, new_id

pytestmark = pytest.mark.fast


@dataclass(frozen=True)
class Terminal:
    kit: Kit
    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str, status: int = 0) -> str:
        """What a command says; lines are as long as they come."""
        self.monkeypatch.setattr(sys, "argv", ["lei-exports", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = self.capsys.readouterr()
        assert (ended.value.code or 0) == status, said
        return said.out + said.err


@pytest.fixture(scope="module")
def three_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = Kit(tmp_path_factory.mktemp("three"))
    kit.publish(1)
    kit.publish(2, {0: range(7)})
    kit.publish_changes(3, {0: range(8)})
    return kit


@pytest.fixture
def terminal(
    three_to_copy: Kit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Terminal:
    kit = three_to_copy.copy_to(tmp_path)
    monkeypatch.setenv("EXPORT_DIR", str(kit.export_dir))
    monkeypatch.setenv("KEEP_SNAPSHOTS", "1")
    monkeypatch.setenv("KEEP_HOURS", "0")
    monkeypatch.setenv("COLUMNS", "100")
    return Terminal(kit, monkeypatch, capsys)


def current(terminal: Terminal) -> str:
    return terminal.kit.current().manifest.id


def test_the_list_has_every_snapshot_newest_first(terminal: Terminal) -> None:
    lines = terminal.run("snapshots").splitlines()
    assert [line.split()[:2] for line in lines[1:]] == [
        ["current", new_id(3)],
        [new_id(2), "2"],
        [new_id(1), "1"],
    ]
    assert lines[1].split()[-1] == "2"  # its base
    content = json.loads(terminal.run("snapshots", "--json"))
    assert [s["id"] for s in content["snapshots"]] == [new_id(3), new_id(2), new_id(1)]
    assert content["current"] == new_id(3)
    assert content["held"] is None
    first = content["snapshots"][0]
    assert first["rows"]["domain_exports"] == 8
    assert (first["sequence"], first["base_snapshot"], first["is_current"]) == (3, new_id(2), True)
    assert first["bytes"] == sum(
        path.stat().st_size
        for path in (terminal.kit.export_dir / "current").resolve().rglob("*")
        if path.is_file() and path.name != "manifest.json"
    )


@pytest.mark.parametrize("columns", ["0", "5", "000", "30", "9" * 5000])
def test_tables_in_a_pipe_are_whole_whatever_columns_says(terminal: Terminal, columns: str) -> None:
    terminal.monkeypatch.setenv("COLUMNS", columns)
    lines = terminal.run("snapshots").splitlines()
    assert [new_id(number) in line for number, line in zip((3, 2, 1), lines[1:], strict=True)] == [True] * 3
    assert f"{'a' * 300} {new_id(3)}" in terminal.run("query", f"SELECT repeat('a', 300) || ' {new_id(3)}' AS x")


def test_nothing_published(terminal: Terminal, tmp_path: Path) -> None:
    terminal.monkeypatch.setenv("EXPORT_DIR", str(tmp_path / "empty"))
    assert "No snapshot" in terminal.run("snapshots")
    assert json.loads(terminal.run("snapshots", "--json"))["snapshots"] == []
    assert "Nothing is published" in terminal.run("verify", status=1)
    assert "No snapshot" in terminal.run("prune")
    assert "is not there" in terminal.run("rollback", "1", status=1)
    assert not (tmp_path / "empty").exists()


def test_verify(terminal: Terminal) -> None:
    assert f"{new_id(3)} is what was published" in terminal.run("verify")
    assert new_id(1) in terminal.run("verify", new_id(1))
    assert new_id(2) in terminal.run("verify", "2")
    said = terminal.run("verify", new_id(2)[:-1] + "9", status=1)
    assert new_id(2) in said
    flip_a_byte(terminal.kit.export_dir / "snapshots" / new_id(2) / "exports.duckdb")
    said = terminal.run("verify", new_id(2), status=1)
    assert "exports.duckdb" in said
    assert "is damaged" in said


def test_rollback_and_release(terminal: Terminal) -> None:
    said = terminal.run("rollback", new_id(1))
    assert f"current is {new_id(1)}, before {new_id(3)}" in said
    assert current(terminal) == new_id(1)
    said = terminal.run("snapshots")
    assert ["held", new_id(1)] in [line.split()[:2] for line in said.splitlines()]
    assert "rollback --release" in said
    assert json.loads(terminal.run("snapshots", "--json"))["held"]["from"] == new_id(3)
    assert new_id(3) in terminal.run("rollback", "--release")
    assert current(terminal) == new_id(3)
    assert "No rollback is in force" in terminal.run("rollback", "--release", status=1)
    assert new_id(1) in terminal.run("rollback", "2026", status=1)


@pytest.mark.parametrize("arguments", [(), (new_id(1), "--release"), ("--relase",)], ids=str)
def test_wrong_usage_of_rollback(terminal: Terminal, arguments: tuple[str, ...]) -> None:
    terminal.run("rollback", *arguments, status=2)
    assert current(terminal) == new_id(3)


def test_prune(terminal: Terminal) -> None:
    said = terminal.run("prune", "--dry-run")
    assert f"Would delete {new_id(1)}\nWould delete {new_id(2)}\n" in said
    assert "2 snapshots and 3 stagings, would free" in said
    assert len(list_snapshots(terminal.kit.export_dir).snapshots) == 3
    said = terminal.run("prune")
    assert f"Deleted {new_id(1)}" in said
    assert [s.manifest.id for s in list_snapshots(terminal.kit.export_dir).snapshots] == [new_id(3)]
    assert "0 snapshots and 0 stagings, freed 0.0 MB" in terminal.run("prune")


def test_wait(terminal: Terminal) -> None:
    assert terminal.run("wait", "--after", new_id(2)) == f"{new_id(3)}\n"
    assert terminal.run("wait", "--after", "0", "--timeout", "0") == f"{new_id(3)}\n"
    assert "within 0.1 s" in terminal.run("wait", "--after", new_id(3), "--timeout", "0.1", status=1)
    assert new_id(3) in terminal.run("wait", "--after", new_id(3) + "x", status=1)
    assert "never had a snapshot" in terminal.run("wait", "--after", "9" * 5000, status=1)
    assert terminal.run("wait", "--after", "0" * 5000) == f"{new_id(3)}\n"
    terminal.run("wait", status=2)
    terminal.run("wait", "--after", "0", "--timeout", "-1", status=2)


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_output_changes_nothing_of_what_a_command_does(terminal: Terminal, closed: str) -> None:
    environment = clean_environment(EXPORT_DIR=str(terminal.kit.export_dir))
    done = run_program(["sh", "-c", f'exec "$@" {closed}', "sh", LEI_EXPORTS, "rollback", "1"], env=environment)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert current(terminal) == new_id(1)


def test_characters_that_the_output_does_not_know_are_escaped(terminal: Terminal) -> None:
    environment = clean_environment(EXPORT_DIR=str(terminal.kit.export_dir), PYTHONIOENCODING="ascii")
    done = run_program([LEI_EXPORTS, "query", "SELECT '\u00e9\u20ac' AS x"], env=environment)
    assert done.returncode == 0, done.stderr
    assert r"\xe9\u20ac" in done.stdout
