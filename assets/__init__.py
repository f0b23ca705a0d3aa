"""What Dagster loads (defs) and the terminal that starts it (cli)."""
