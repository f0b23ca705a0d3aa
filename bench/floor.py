"""The floor F: both tables, the same columns, as binary COPY over one connection, thrown away."""

import sys

import psycopg

from pipelines.contracts.source import SOURCE_TABLES, source_columns


def main() -> None:
    """Copy both tables of the database of an URL to nowhere."""
    with psycopg.connect(sys.argv[1]) as connection, connection.cursor() as cursor:
        total = 0
        for table in SOURCE_TABLES:
            columns = ", ".join(f'"{name}"' for name in source_columns(table, include_full_data=False))
            with cursor.copy(f"COPY (SELECT {columns} FROM {table.name}) TO STDOUT (FORMAT binary)") as copy:
                for part in copy:
                    total += len(part)
    print(f"{total:,} bytes")


if __name__ == "__main__":
    main()
