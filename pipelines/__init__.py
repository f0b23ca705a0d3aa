"""The machine: reads PostgreSQL, builds the export tables, publishes snapshots. It knows nothing of Dagster (DESIGN 2)."""
