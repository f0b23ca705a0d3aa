"""A source and what is published of it, made once in a process and copied for each test that begins with both.

The copy is the same to PostgreSQL and to a run: a database of the same name and oid, whose tables have the same files
and transaction ids, and an export folder with the same links in it. A test goes on as if it had made them itself.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from psycopg import sql

from pipelines.snapshots.opening import Snapshot, published_snapshot
from tests.oracle.postgres import Cluster, Database

Make = Callable[[Database, Path], object]


@dataclass(frozen=True)
class _Made:
    """A database to copy, the oid that copies have, and a folder to copy."""

    template: str
    oid: int
    folder: Path


class PublishedSources:
    """Knows what was made. For one process, whose tests run one after the other.

    Nothing is copied on a server that is not ours: where autovacuum knows an oid from before, PostgreSQL 18 can panic
    when that database is dropped for the second time.
    """

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self._cluster, self._folder = cluster, folder
        self._may_copy = "PG_TEST_URL" not in os.environ
        self._made: dict[tuple[str, str, str], _Made] = {}

    def publish(self, database: Database, export_dir: Path, make: Make) -> Snapshot:
        """Fill an empty database and publish it, or copy both from when that was done before.

        Args:
            database: That of the fixture, which has the same name in all tests.
            export_dir: Folder that is not there yet.
            make: Fills a database and exports it to a folder, the same each time: a function of a module.

        Returns:
            The snapshot that is current then.
        """
        key = (database.name, make.__module__, make.__qualname__)
        if key in self._made:
            self._copy(self._made[key], database.name, export_dir)
        else:
            make(database, export_dir)
            if self._may_copy:
                self._made[key] = self._keep(database.name, export_dir)
        return published_snapshot(export_dir)

    def forget(self) -> None:
        """Drop what was kept in the cluster."""
        for made in self._made.values():
            self._cluster.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(made.template)))

    def _keep(self, name: str, export_dir: Path) -> _Made:
        number = len(self._made)
        template, folder = f"{name}_{number}", self._folder / str(number)
        self._cluster.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(template), sql.Identifier(name))
        )
        subprocess.run(["cp", "-a", export_dir, folder], check=True)
        with self._cluster.database(name).connect() as connection:
            row = connection.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone()
        assert row is not None
        return _Made(template, int(row[0]), folder)

    def _copy(self, made: _Made, name: str, export_dir: Path) -> None:
        self._cluster.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        self._cluster.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OID {}").format(
                sql.Identifier(name), sql.Identifier(made.template), sql.Literal(made.oid)
            )
        )
        subprocess.run(["cp", "-a", made.folder, export_dir], check=True)


@contextmanager
def published_sources_of(cluster: Cluster, folder: Path) -> Iterator[PublishedSources]:
    """Nothing made yet; what is made stays while the block lasts."""
    sources = PublishedSources(cluster, folder)
    try:
        yield sources
    finally:
        sources.forget()
