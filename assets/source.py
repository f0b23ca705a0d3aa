"""The source: both tables of the application, as they stand in PostgreSQL. Nothing is run for them.

Every run that looked at the source says so here, changed or not: an unchanged source is fresh (DESIGN 4).
"""

from datetime import timedelta

import dagster as dg

from assets.catalog import source_spec
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.settings import STALE_AFTER_HOURS

# As an alert is raised by default; a look that was missed twice is an incident.
FRESHNESS = dg.FreshnessPolicy.time_window(
    fail_window=timedelta(hours=49), warn_window=timedelta(hours=STALE_AFTER_HOURS)
)

source_tables = [
    source_spec(
        "source",
        table,
        kinds={"postgres"},
        freshness_policy=FRESHNESS,
        description=f"{(table.schema.__doc__ or '').strip()} Written by the application, read in one snapshot per run.",
    )
    for table in SOURCE_TABLES
]
