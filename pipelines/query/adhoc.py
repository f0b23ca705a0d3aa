"""A person's own SQL on a published snapshot, read-only."""

import duckdb
import polars as pl

from pipelines.errors import QueryError
from pipelines.snapshots.opening import Snapshot


def run_query(snapshot: Snapshot, query: str, most_rows: int) -> pl.DataFrame:
    """Run one query on the DuckDB file of a snapshot.

    Args:
        snapshot: The snapshot.
        query: SQL of DuckDB; the file is open read-only.
        most_rows: Rows to return at most.

    Raises:
        SnapshotError: The file can't be opened.
        QueryError: DuckDB refuses the query; its words are passed on, they are about the person's own text.
    """
    with snapshot.connect() as connection:
        try:
            relation = connection.sql(query)
            if relation is None:
                raise QueryError("That statement has no result", expected="a query", fix="begin it with SELECT or FROM")
            return pl.DataFrame(relation.limit(most_rows).to_arrow_table())
        except duckdb.Error as error:
            raise QueryError("DuckDB refuses the query", found=str(error).strip(), fix="correct the SQL") from None
