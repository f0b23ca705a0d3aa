"""Fixtures of the tests of publish/ and reading/."""

from pathlib import Path

import pytest

from tests.publish.kit import BEFORE, FAR_AWAY, Kit, new_id


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


@pytest.fixture(scope="session")
def two_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = Kit(tmp_path_factory.mktemp("two"))
    kit.publish(1)
    kit.publish(2, {0: range(7)})
    return kit


@pytest.fixture
def two(two_to_copy: Kit, tmp_path: Path) -> Kit:
    """Published at hours 1 and 2."""
    return two_to_copy.copy_to(tmp_path)


@pytest.fixture(scope="session")
def base_to_copy(tmp_path_factory: pytest.TempPathFactory) -> Kit:
    kit = Kit(tmp_path_factory.mktemp("base"))
    kit.publish(1, BEFORE, built=kit.build(new_id(1), BEFORE, 2, {3: {"confidence_score": 0.0}}))
    kit.edit_manifest(rebuilt_database_bytes=FAR_AWAY)
    return kit


@pytest.fixture
def base(base_to_copy: Kit, tmp_path: Path) -> Kit:
    """One snapshot of the segments in BEFORE."""
    return base_to_copy.copy_to(tmp_path)
