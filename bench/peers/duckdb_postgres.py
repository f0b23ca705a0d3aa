"""DuckDB's postgres extension copies both tables in one transaction; SQL makes the exports; Parquet and a DuckDB file.

The third argument names the SQL file beside this one. Copying first was faster than reading PostgreSQL in each query.
"""

import sys
from importlib.resources import files
from pathlib import Path

import duckdb

from bench.peers.command import NOT_READ, arguments, tell


def main() -> None:
    """Copy, transform, write."""
    url, folder = arguments()
    statements = (Path(__file__).parent / f"{sys.argv[3]}.sql").read_text(encoding="utf-8")
    extensions = files("duckdb_extension_postgres_scanner") / "extensions" / f"v{duckdb.__version__}"
    with duckdb.connect(folder / "exports.duckdb") as connection:
        connection.execute(f"LOAD '{extensions / 'postgres_scanner.duckdb_extension'}'")
        connection.execute(f"ATTACH '{url}' AS source (TYPE postgres, READ_ONLY)")
        connection.execute("BEGIN")
        connection.execute("CREATE TEMP TABLE domains AS SELECT * EXCLUDE (domain_hash) FROM source.domains")
        connection.execute(
            f"CREATE TEMP TABLE gleif_candidates AS SELECT * EXCLUDE ({NOT_READ}) FROM source.gleif_candidates"
        )
        connection.execute("COMMIT")
        connection.execute(statements)
        rows = {}
        own = "SELECT table_name FROM duckdb_tables() WHERE database_name = current_database()"
        for (name,) in connection.execute(own).fetchall():
            connection.execute(f"COPY {name} TO '{folder / name}.parquet' (COMPRESSION zstd)")
            (rows[name],) = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    tell(rows)


if __name__ == "__main__":
    main()
