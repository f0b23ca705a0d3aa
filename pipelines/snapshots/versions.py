"""Versions of what writes the files, for the manifest."""

import importlib.metadata
import platform

from pipelines.snapshots.database_writer import STORAGE_VERSION

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
