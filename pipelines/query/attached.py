"""A snapshot's DuckDB file for one reader: attached, with the functions of this room, or for a query of a person."""

from pathlib import Path

import duckdb
import polars as pl

from pipelines.errors import QueryError
from pipelines.query.batch.expressions import MACROS, RARE_REAL
from pipelines.query.batch.reals import real_text
from pipelines.snapshots.duckdb_connections import open_scratch, quoted_text
from pipelines.snapshots.opening import Snapshot

# The name that SQL knows the file by.
DATABASE = "published"


def open_attached(database: Path, memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Attach a file for reading, about 20 ms.

    Args:
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


def run_query(snapshot: Snapshot, query: str, max_rows: int) -> pl.DataFrame:
    """Run one query on the DuckDB file of a snapshot.

    Args:
        query: SQL of DuckDB; the file is open read-only.
        max_rows: Rows to return at most.

    Raises:
        SnapshotError: The file can't be opened.
        QueryError: DuckDB refuses the query; its words are passed on, they are about the person's own text.
    """
    with snapshot.connect() as connection:
        try:
            relation = connection.sql(query)
            if relation is None:
                raise QueryError("That statement has no result", expected="a query", fix="begin it with SELECT or FROM")
            return pl.DataFrame(relation.limit(max_rows).to_arrow_table())
        except duckdb.Error as error:
            raise QueryError("DuckDB refuses the query", found=str(error).strip(), fix="correct the SQL") from None
