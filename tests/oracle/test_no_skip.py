"""NO_SKIP=1 turns skips into failures: tests/conftest.py, seen from outside."""

from pathlib import Path

import pytest

from tests.forking import run_forked

pytestmark = pytest.mark.standard

RUN = """
import os, sys
os.environ.update(NO_SKIP=sys.argv[1], PYTEST_ADDOPTS="", PYTHONPATH=os.getcwd())
folder, options = sys.argv[2], sys.argv[3:]
os.chdir(folder)
import pytest
sys.exit(pytest.main([*options, folder]))
"""
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
        pytest.param("1", ["-n2"], "1 passed, 1 xfailed, 3 errors", 1, marks=pytest.mark.extended),
    ],
)
def test_no_skip(tmp_path: Path, no_skip: str, processes: list[str], counts: str, status: int) -> None:
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "test_module.py").write_text(MODULE)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ["-p", "tests.conftest", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-rs", *processes]
    options.append("-Wignore::pytest.PytestAssertRewriteWarning")  # in a fork some plugins are imported before
    result = run_forked(RUN, no_skip, tmp_path, *options, status=status)
    assert counts in result.stdout, result.stdout
    if no_skip:
        assert "NO_SKIP=1, but this was skipped: Skipped: no such thing here" in result.stdout
