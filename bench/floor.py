"""The floor F: both tables, the same columns, as binary COPY over one connection, thrown away."""

import sys

import psycopg

from pipelines.contracts.source import SOURCE_TABLES, source_columns


def copied_bytes(url: str) -> int:
    """Copy both tables of a database to nowhere; the bytes that came."""
    total = 0
    with psycopg.connect(url) as connection, connection.cursor() as cursor:
        for table in SOURCE_TABLES:
            columns = ", ".join(f'"{name}"' for name in source_columns(table, include_full_data=False))
            with cursor.copy(f"COPY (SELECT {columns} FROM {table.name}) TO STDOUT (FORMAT binary)") as copy:
                for part in copy:
                    total += len(part)
    return total


def main() -> None:
    """Copy both tables of the database of an URL."""
    print(f"{copied_bytes(sys.argv[1]):,} bytes")


if __name__ == "__main__":
    main()
