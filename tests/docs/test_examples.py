"""The scripts of examples/: each runs as it stands there, needs nothing of this package, and its answer is right."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.snapshots.opening import Snapshot
from tests.forking import clean_environment, run_program

pytestmark = [pytest.mark.integration, pytest.mark.fast]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
# What each must print, row by row, asked another way: of the tables, not of a view or another table.
ANSWERS = {
    "duckdb_example.py": """
        SELECT d.domain, format('{:.1f}', abs(a.weighted_score::DOUBLE - b.weighted_score::DOUBLE))
        FROM domain_exports AS d
        JOIN candidate_exports AS a ON a.domain_id = d.domain_id AND a.lei_code = d.lei_codes[1]
        JOIN candidate_exports AS b ON b.domain_id = d.domain_id AND b.lei_code = d.lei_codes[2]
        WHERE round(abs(a.weighted_score::DOUBLE - b.weighted_score::DOUBLE), 3) < 5
        ORDER BY round(abs(a.weighted_score::DOUBLE - b.weighted_score::DOUBLE), 3), d.domain_id LIMIT 8
    """,
    "polars_lazy.py": """
        SELECT jurisdiction, count(*), count(*) FILTER (is_primary_selection)
        FROM candidate_exports WHERE is_valid_lei GROUP BY ALL ORDER BY count(*) DESC, jurisdiction LIMIT 8
    """,
    "pandas_pyarrow.py": """
        SELECT lei_code, count(DISTINCT domain_hash) AS n FROM candidate_exports
        GROUP BY ALL HAVING n > 1 ORDER BY n DESC, lei_code LIMIT 8
    """,
}


def run(example: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script as a person does, with nothing of this shell's environment but PATH and HOME."""
    return run_program(
        [sys.executable, "-W", "error", EXAMPLES / example],
        cwd=cwd,
        env=clean_environment(PYTHONUTF8="1", **environment),
        timeout=240,
    )


def test_every_example_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(ANSWERS)


@pytest.mark.parametrize("example", ANSWERS)
def test_it_answers_its_question(example: str, home: Path, snapshot: Snapshot) -> None:
    done = run(example, home)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = iter(done.stdout.splitlines())
    with snapshot.connect() as connection:
        rows = connection.execute(ANSWERS[example]).fetchall()
    assert len(rows) > 5
    for row in rows:
        assert any(all(str(value) in line.replace("│", " ").split() for value in row) for line in lines), row
    assert not any(line.strip(" │┆└┘─┴┌┐").strip() for line in lines), "nothing more than the answer"


@pytest.mark.parametrize("example", ANSWERS)
def test_it_takes_its_folder_from_the_environment_and_misses_it_clearly(
    example: str, home: Path, tmp_path: Path
) -> None:
    assert run(example, tmp_path, EXPORT_DIR=str(home / "data" / "exports")).stdout == run(example, home).stdout
    missing = run(example, tmp_path)
    assert missing.returncode == 1
    assert missing.stderr.startswith("data/exports/current is not there: run `make export` first, or set EXPORT_DIR")


@pytest.mark.parametrize("example", ANSWERS)
def test_it_is_short_and_needs_nothing_of_this_package(example: str) -> None:
    text = (EXAMPLES / example).read_text(encoding="utf-8")
    assert len(text.splitlines()) < 50
    assert "pipelines" not in text
    assert text.count('"current"') == text.count("current.resolve()") == 1, "`current` is resolved once"
