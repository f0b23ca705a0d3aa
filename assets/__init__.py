"""All that Dagster sees, and the terminal that starts it (DESIGN 2)."""
