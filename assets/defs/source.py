"""The source: both tables of the application, as they stand in PostgreSQL. Nothing is run for them.

Every run that looked at the source says so here, changed or not: an unchanged source is fresh (DESIGN 4).
"""

from assets.defs.catalog import source_spec
from pipelines.contracts.source import SOURCE_TABLES

source_tables = [
    source_spec(
        "source",
        table,
        kinds={"postgres"},
        description=f"{(table.schema.__doc__ or '').strip()} Written by the application, read in one snapshot per run.",
    )
    for table in SOURCE_TABLES
]
