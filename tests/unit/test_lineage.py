"""Where columns come from, as the contracts say: every name is one of an actual table."""

import pytest

from pipelines.contracts.columns import with_lineage
from pipelines.contracts.source import SOURCE_TABLES, Domains
from pipelines.contracts.tables import DERIVED_TABLES, Table, published_tables

pytestmark = pytest.mark.fast

SOURCES = {table.name: set(table.schema.columns()) for table in SOURCE_TABLES}
EXPORTS = {table.name: set(table.columns) for table in published_tables(include_full_data=True)}
# What no column of a source is copied for: it says something of the row.
WITHOUT = {"rejected_rows": {"source_table", "reason", "detail", "row_json"}}


@pytest.mark.parametrize("full", [False, True])
def test_every_source_of_a_column_is_there(*, full: bool) -> None:
    for table in published_tables(include_full_data=full):
        known = EXPORTS if table in DERIVED_TABLES else SOURCES
        for name, sources in table.column_sources.items():
            assert bool(sources) == (name not in WITHOUT.get(table.name, set())), (table.name, name)
            for source in sources:
                owner, column = source.split(".")
                assert column in known[owner], (table.name, name, source)


@pytest.mark.parametrize("table", published_tables(include_full_data=True), ids=lambda table: table.name)
def test_a_column_of_a_known_name_is_taken_from_it_with_its_type(table: Table) -> None:
    tables = {t.name: t.schema for t in (*SOURCE_TABLES, *published_tables(include_full_data=True))}
    for name, sources in table.column_sources.items():
        (source, *others) = sources or ("",)
        owner, _, column = source.partition(".")
        if column == name and not others and name != "domain":
            assert tables[owner].columns()[column].dtype == table.columns[name].dtype, (table.name, name)


def test_a_taken_column_is_a_copy() -> None:
    column = with_lineage("domains", Domains, "status", description="other", nullable=True)
    assert Domains.columns()["status"].description != "other"
    assert not Domains.columns()["status"].nullable
    assert Domains.columns()["status"].metadata == {"storage": "code"}
    assert column.metadata == {"storage": "code", "from": ("domains.status",)}
    again = with_lineage("domains", Domains, "created_at")
    assert again.metadata == {"unit": "UTC", "from": ("domains.created_at",)}
    assert Domains.columns()["created_at"].metadata == {"unit": "UTC"}
