"""Fixtures of the tests of the oracle."""

from collections.abc import Iterator

import pytest

from tests.oracle.kit import Connection
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables


@pytest.fixture
def conn(database: Database) -> Iterator[Connection]:
    """An empty source, and a connection to it."""
    with database.connect() as conn:
        create_source_tables(conn)
        yield conn
