"""`lei-exports batch` as a person runs it."""

import io
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import openpyxl
import polars as pl
import pytest
from click.testing import Result
from typer.testing import CliRunner

from assets.cli.commands import app
from tests.batch.conftest import Exported
from tests.batch.kit import file_of
from tests.forking import LEI_EXPORTS, clean_environment, run_program
from tests.orchestration.test_cli import lei_exports

pytestmark = [pytest.mark.orchestration, pytest.mark.fast]


def export_dir(exported: Exported) -> str:
    return str(exported.snapshot.folder.parents[1])


@pytest.fixture
def run(awkward: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Runs the command in this process: a new one takes a second."""
    monkeypatch.chdir(tmp_path)
    return lambda *arguments: CliRunner().invoke(app, ["batch", *arguments], env={"EXPORT_DIR": export_dir(awkward)})


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["-kP3xWq9TzYbN_4mLs7Rd"], "batch--kP3xWq9TzYbN_4mLs7Rd.csv"),
        (["-kP3xWq9TzYbN_4mLs7Rd", "--format", "json"], "batch--kP3xWq9TzYbN_4mLs7Rd.json"),
        (["--format", "csv", "--", "-kP3xWq9TzYbN_4mLs7Rd"], "batch--kP3xWq9TzYbN_4mLs7Rd.csv"),
        (["--", "--out"], "batch---out.csv"),
        (["-"], "batch--.csv"),
        (["--a=b", "--raw"], "batch---a_b-{hash}.csv"),
        (["../../etc/passwd"], "batch-.._.._etc_passwd-{hash}.csv"),
        (["/absolute"], "batch-_absolute-{hash}.csv"),
        (["[bold]x[/nope]"], "batch-_bold_x__nope_-{hash}.csv"),
    ],
)
def test_ids_that_look_like_options_or_paths(
    run: Callable[..., Result], awkward: Exported, tmp_path: Path, arguments: list[str], name: str
) -> None:
    done = run(*arguments)
    assert done.exit_code == 0, done.output
    (written,) = tmp_path.iterdir()
    assert re.sub(r"-[0-9a-f]{8}\.", "-{hash}.", written.name) == name
    assert f"Written   {written.name}" in done.stdout
    assert "6 rows, 36 candidates" in done.stdout
    assert awkward.snapshot.manifest.id in done.stdout
    assert written.stat().st_size > 1000


def test_out_and_every_format(run: Callable[..., Result], tmp_path: Path) -> None:
    def written(batch_format: str, *options: str) -> bytes:
        target = tmp_path / f"x.{batch_format}"
        done = run("a/b", "--format", batch_format, "--out", str(target), *options)
        assert done.exit_code == 0, done.output
        return target.read_bytes()

    content = written("csv", "--bom", "--raw")
    assert content.startswith(b'\xef\xbb\xbf"Domain"')
    assert b'"+1"' in content
    assert len(json.loads(written("json"))) == 6
    assert len(written("ndjson").splitlines()) == 6
    assert pl.read_parquet(written("parquet"))["candidates"].list.len().to_list() == [6] * 6
    sheet = openpyxl.load_workbook(io.BytesIO(written("xlsx"))).active
    assert sheet is not None
    assert sheet["E2"].value == "13250000000000000107"


@pytest.mark.parametrize(
    "wrong",
    [
        ["a/b", "--format", "xls"],
        ["a/b", "--format", "json", "--bom"],
        ["a/b", "--format", "xlsx", "--raw"],
        ["a/b", "--formt", "csv"],
        ["a/b", "--memory-mb", "9" * 23],
        ["a/b", "c"],
        [],
    ],
)
def test_wrong_usage(run: Callable[..., Result], tmp_path: Path, wrong: list[str]) -> None:
    assert run(*wrong).exit_code == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch_format", ["csv", "xlsx"])
def test_standard_output_holds_the_file_and_nothing_else(awkward: Exported, tmp_path: Path, batch_format: str) -> None:
    done = subprocess.run(
        [LEI_EXPORTS, "batch", "-kP3xWq9TzYbN_4mLs7Rd", "--out", "-", "--format", batch_format],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "EXPORT_DIR": export_dir(awkward)},
        capture_output=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0
    assert done.stdout == file_of(awkward.snapshot, "-kP3xWq9TzYbN_4mLs7Rd", batch_format)
    assert b"6 rows" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("batch_format", ["csv", "parquet", "xlsx"])
def test_standard_output_that_can_not_be_written(awkward: Exported, tmp_path: Path, batch_format: str) -> None:
    words = [LEI_EXPORTS, "batch", "a/b", "--out", "-", "--format", batch_format]
    environment = clean_environment(EXPORT_DIR=export_dir(awkward))
    full = run_program(["sh", "-c", 'exec "$@" >/dev/full', "sh", *words], env=environment, cwd=tmp_path)
    assert full.returncode == 1
    assert full.stderr.splitlines() == [
        "Error: The output can't be written",
        "  found: No space left on device",
        "  fix: make room there, or write it elsewhere",
    ]
    unread, written = os.pipe()
    os.close(unread)
    with open(written, "wb") as pipe:  # noqa: PTH123
        gone = subprocess.run(words, stdout=pipe, stderr=subprocess.PIPE, env=environment, cwd=tmp_path, check=False)
    assert (gone.returncode, gone.stderr) == (0, b"")


def test_errors(awkward: Exported, tmp_path: Path) -> None:
    environment = {"cwd": tmp_path, "EXPORT_DIR": export_dir(awkward)}
    unknown = lei_exports("batch", "a/c", **environment)  # type: ignore[arg-type]
    assert unknown.returncode == 1
    assert 'found: "a/c"' in unknown.stderr
    assert '"a/b"' in unknown.stderr
    nothing = lei_exports("batch", "a/b", cwd=tmp_path, EXPORT_DIR=str(tmp_path / "empty"))
    assert nothing.returncode == 1
    assert "Nothing is published" in nothing.stderr
    assert "lei-exports run" in nothing.stderr
    nowhere = lei_exports("batch", "a/b", "--out", "no/where.csv", **environment)  # type: ignore[arg-type]
    assert nowhere.returncode == 1
    assert "No such file or directory" in nowhere.stderr
    assert list(tmp_path.iterdir()) == []
    for done in (unknown, nothing, nowhere):
        assert "Traceback" not in done.stderr
        assert "nanobind" not in done.stderr, "a DuckDB connection was left open"
