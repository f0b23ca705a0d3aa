"""Fixtures of the tests of faults."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.exporting import export, settings_for
from tests.faults.kit import Operator
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source


@pytest.fixture
def operator(database: Database, tmp_path: Path) -> Iterator[Operator]:
    """An operator whose source is published, and who is about to run `lei-exports` on it."""
    with database.connect() as connection:
        create_source_tables(connection, id_type="integer PRIMARY KEY")
        domains = [{"id": n, "domain": f"d{n}.example", "status": "success", "batch_id": "b"} for n in range(500)]
        insert_source(connection, domains, [{"id": n, "domain_id": n, "lei_code": "X"} for n in range(500)])
    export(settings_for(database, tmp_path / "exports"))
    operator = Operator(database, tmp_path)
    yield operator
    operator.end()
