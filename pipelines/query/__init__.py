"""Questions to a published snapshot, answered by DuckDB within a limit of memory.

Entry points: open_database (database.py) and queries.py for the server, run_query (bounded.py) for a person's SQL,
open_batch (batch/batches.py) for a batch as a file.
"""
