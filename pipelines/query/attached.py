"""A snapshot's DuckDB file attached to a DuckDB of its own, with the functions that the SQL of this room calls."""

from pathlib import Path

import duckdb

from pipelines.query.batch.expressions import MACROS, RARE_REAL
from pipelines.query.batch.reals import real_text
from pipelines.snapshots.duckdb_connections import open_scratch, quoted_text

# The name that SQL knows the file by.
DATABASE = "published"


def open_attached(database: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Attach a file for reading, about 20 ms.

    Args:
        database: The file.
        memory_mb: Most memory that DuckDB takes, MB; nothing is spilled to disk.

    Returns:
        The connection; the file is its database `published`.

    Raises:
        duckdb.Error: The file can't be read.
    """
    session = open_scratch(memory_mb)
    try:
        session.execute(f"ATTACH {quoted_text(str(database))} AS {DATABASE} (READ_ONLY)")
        # One thread a query: what is asked at a time is too small for more, and servers ask several things at a time.
        session.execute("SET threads = 1")
        session.execute("SET enable_external_access = false")
        session.create_function(RARE_REAL, real_text, ["FLOAT"], "VARCHAR")
        for macro in MACROS:
            session.execute(macro)
    except BaseException:
        session.close()
        raise
    return session
