"""NO_SKIP=1 turns skips into failures: tests/conftest.py, seen from outside."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.standard

ROOT = Path(__file__).resolve().parents[2]
CASES = """
import pytest

@pytest.fixture
def lacking():
    pytest.skip("no such thing here")

def test_fixture(lacking): ...

@pytest.mark.skip(reason="marked")
def test_marked(): ...

@pytest.mark.xfail(reason="known", strict=True)
def test_expected_failure():
    raise ValueError

def test_passes(): ...
"""
MODULE = 'import pytest\npytest.skip("whole module", allow_module_level=True)\n'


@pytest.mark.parametrize(
    ("no_skip", "processes", "counts", "status"),
    [
        ("", [], "1 passed, 3 skipped, 1 xfailed", 0),
        ("1", [], "1 passed, 1 xfailed, 3 errors", 1),
        ("1", ["-n2"], "1 passed, 1 xfailed, 3 errors", 1),
    ],
)
def test_no_skip(tmp_path: Path, no_skip: str, processes: list[str], counts: str, status: int) -> None:
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "test_module.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-rs", *processes]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=tmp_path,
        env={**os.environ, "NO_SKIP": no_skip, "PYTHONPATH": str(ROOT), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert counts in result.stdout, result.stdout
    assert result.returncode == status
    if no_skip:
        assert "NO_SKIP=1, but this was skipped: Skipped: no such thing here" in result.stdout
