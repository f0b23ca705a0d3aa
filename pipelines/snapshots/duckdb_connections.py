"""How this project opens DuckDB: one configuration, and the quoting of names and paths in SQL."""

from pathlib import Path

import duckdb

# No extension is ever fetched: a published file must open on a machine without network, and what is read stays what it
# is. All connections to one file in one process must have one configuration, DuckDB refuses them otherwise.
CONFIG: dict[str, str | bool | int | float | list[str]] = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
}


def open_read_only(database: Path) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB file for reading.

    Args:
        database: The file.

    Returns:
        A connection that can't write; several in one process share their cache.

    Raises:
        duckdb.Error: The file is missing, not a DuckDB file, or open for writing elsewhere.
    """
    return duckdb.connect(str(database), read_only=True, config=CONFIG)


def open_scratch(memory_mb: int) -> duckdb.DuckDBPyConnection:
    """Open a DuckDB of its own without a file, to look at files from outside.

    Args:
        memory_mb: Most memory that it takes, MB; it never spills.

    Returns:
        A connection that shares nothing with others, so that it sees the files as they are on disk now.
    """
    config = {
        **CONFIG,
        "memory_limit": f"{memory_mb}MB",
        "temp_directory": "",
        "enable_external_file_cache": False,
    }
    return duckdb.connect(":memory:", config=config)


def quoted(name: str) -> str:
    """An identifier in SQL."""
    return '"' + name.replace('"', '""') + '"'


def quoted_text(text: str) -> str:
    """A text literal in SQL, for statements that take no parameters (ATTACH, COMMENT)."""
    return "'" + text.replace("'", "''") + "'"


def literal_path(path: Path) -> str:
    """A path as read_parquet takes it: `[`, `*` and `?` in a folder's name stand for themselves."""
    return "".join(f"[{character}]" if character in "[*?" else character for character in str(path))
