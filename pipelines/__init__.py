"""The machine: reads PostgreSQL, builds the tables, publishes snapshots. It knows nothing of Dagster (DESIGN 2)."""
