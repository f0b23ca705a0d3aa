"""Each test states one tier, and the commands select by it."""

from pathlib import Path

import pytest

from tests.conftest import COMPLAINTS
from tests.forking import run_forked

pytestmark = pytest.mark.fast

CASES = """
import pytest

pytestmark = pytest.mark.fast

def test_of_the_module(): ...

@pytest.mark.standard
@pytest.mark.parametrize("n", [1, pytest.param(2, marks=pytest.mark.extended)])
def test_closer(n): ...

@pytest.mark.standard
@pytest.mark.extended
def test_two(): ...
"""
WITHOUT = "def test_none(): ...\n"
EACH = """
from tests.conftest import COMPLAINTS

def pytest_collection_finish(session):
    for item in session.items:
        print(item.name, *(marker.name for marker in item.iter_markers() if marker.name != "parametrize"))
    print("complaints", session.config.stash[COMPLAINTS])
"""


def test_every_test_of_this_run_states_one(pytestconfig: pytest.Config) -> None:
    assert pytestconfig.stash[COMPLAINTS] == []


def test_the_closest_counts_and_one_is_enough(tmp_path: Path) -> None:
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "test_without.py").write_text(WITHOUT)
    (tmp_path / "conftest.py").write_text(EACH)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    options = ("-p", "tests.conftest", "-p", "no:randomly", "--collect-only", "-c", tmp_path / "pytest.ini")
    done = run_forked("import sys, pytest; pytest.main(sys.argv[1:])", *options, tmp_path)
    for line in (
        "test_of_the_module fast",
        "test_closer[1] standard",
        "test_closer[2] extended",
        "test_none standard",
        "complaints ['test_cases.py::test_two: extended and standard', 'test_without.py::test_none: no tier']",
    ):
        assert line in done.stdout.splitlines(), done.stdout
