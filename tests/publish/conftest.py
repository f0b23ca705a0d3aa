"""Fixtures of the tests of publish/ and reading/."""

from pathlib import Path

import pytest

from tests.publish.kit import Kit


@pytest.fixture
def kit(tmp_path: Path) -> Kit:
    return Kit(tmp_path)


@pytest.fixture(scope="session")
def published_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = Kit(tmp_path_factory.mktemp("published"))
    kit.publish(1)
    return kit


@pytest.fixture
def published(published_to_copy: Kit, tmp_path: Path) -> Kit:
    """One snapshot of two segments, number 1."""
    return published_to_copy.copy_to(tmp_path)
