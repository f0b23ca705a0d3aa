"""Fixtures of the tests of publish/ and reading/."""

from pathlib import Path

import pytest

from tests.publish.kit import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)
