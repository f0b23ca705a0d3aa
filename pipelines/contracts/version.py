"""Versions: of the contract, of the format of exports.duckdb, and of what writes the files."""

import importlib.metadata
import platform

# Semver (DESIGN 4): a new table, view or column is minor, to remove or retype one is major.
CONTRACT_VERSION = "2.1.0"
STORAGE_VERSION = "v1.4.0"  # the oldest DuckDB that must open the file (DESIGN 4); 2.0's own format is unreadable there
_PACKAGES = ("lei-exports", "polars", "duckdb", "pyarrow")


def library_versions() -> dict[str, str]:
    """Versions of this project and of the libraries that write the files."""
    versions = {"python": platform.python_version(), "duckdb_storage": STORAGE_VERSION}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:  # run from a checkout that is not installed
            versions[package] = "not installed"
    return versions
