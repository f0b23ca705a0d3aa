"""Random histories of a source: after each step every cell that is published equals what PostgreSQL says (DESIGN 3.8).

`python -m tests.integration.histories 600` runs histories for 600 seconds and prints how many exports were compared.
"""

import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.build.extraction import Acceptance
from pipelines.contracts.tables import published_tables
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.oracle.compare import assert_same, read_parquet_face
from tests.oracle.postgres import Database
from tests.oracle.prepared import begin_run, end_run
from tests.oracle.server import Server, account, embedded_programs, new_server
from tests.oracle.source import create_source_tables, insert_source
from tests.random_rows import random_rows

SEGMENT = 100
LABELS = [f"label {n}" for n in range(40)]
# Both tables are views, so that what is read can change without a write.
VIEW = "CREATE OR REPLACE VIEW public.{table} AS SELECT {columns} FROM kept.{table}"


@dataclass
class History:
    """A source, its exports, and what may happen to it between two of them."""

    server: Server
    folder: Path
    chance: random.Random
    name: str
    compared: int = 0
    copies: int = 0
    is_copied: bool = False
    accepts: bool = False
    names: list[str] = field(default_factory=list)

    @property
    def database(self) -> Database:
        return self.server.database(self.name)

    def execute(self, *statements: str) -> None:
        with self.database.connect(autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement.encode())

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        with self.database.connect() as connection:
            return connection.execute(query.encode()).fetchall()

    # --- writes

    def write(self) -> None:
        """Statements that applications and their operators run."""
        low = self.chance.randrange(0, 900)
        high = low + self.chance.choice([1, 5, 150])
        between, fresh = f"BETWEEN {low} AND {high}", self.chance.randrange(1000, 100_000)
        statements = {
            f"UPDATE kept.domains SET company_name = 'v{fresh}', status = 'success' WHERE id {between}": 6,
            f"UPDATE kept.gleif_candidates SET legal_name = 'n{fresh}', rank_position = {fresh % 7}"
            f" WHERE domain_id {between}": 6,
            # Two rows exchange their ranks.
            f"UPDATE kept.gleif_candidates a SET rank_position = b.rank_position FROM kept.gleif_candidates b"
            f" WHERE (a.id, b.id) IN (({low}, {low + 1}), ({low + 1}, {low}))": 3,
            f"DELETE FROM kept.domains WHERE id {between}": 3,
            f"DELETE FROM kept.gleif_candidates WHERE domain_id {between}": 3,
            f"UPDATE kept.gleif_candidates SET domain_id = {fresh % 900} WHERE id {between}": 4,
            f"UPDATE kept.gleif_candidates SET domain_id = NULL WHERE id = {low}": 2,
            f"INSERT INTO kept.domains (id, domain, status, batch_id) SELECT {fresh} + n, 'd' || n || '.x', 'success',"
            f" 'b' FROM generate_series(1, {high - low + 1}) AS n"
            f" WHERE NOT EXISTS (SELECT FROM kept.domains WHERE id = {fresh} + n)": 4,
            f"INSERT INTO kept.domains (id, domain, status, batch_id) SELECT {fresh}::int8 * 20001 + n * 7919,"
            f" 's' || n, 'failed', 's' FROM generate_series(1, 60) AS n"
            f" WHERE NOT EXISTS (SELECT FROM kept.domains WHERE id = {fresh}::int8 * 20001 + n * 7919)": 2,
            f"INSERT INTO kept.gleif_candidates (id, domain_id, lei_code, legal_name) SELECT (SELECT coalesce(max(id),"
            f" 0) FROM kept.gleif_candidates) + n, {low}, 'L' || n % 3, 'x' FROM generate_series(1, 4) AS n": 4,
            "TRUNCATE kept.gleif_candidates": 1,
        }
        self.execute(self.chance.choices(list(statements), list(statements.values()))[0])

    # --- what is read changes, and no row is written

    def rename_label(self) -> None:
        used = [str(row[0]) for row in self.ask("SELECT unnest(enum_range(NULL::kept.label))")]
        unused = [label for label in LABELS if label not in used]
        old, new = self.chance.choice(used), self.chance.choice(unused)
        self.execute(f"ALTER TYPE kept.label RENAME VALUE '{old}' TO '{new}'")

    def change_expression(self) -> None:
        self.show_tables(f"'{self.chance.choice('abc')}' || company_name")

    def change_default(self) -> None:
        number = self.chance.randrange(5)
        self.show_tables(drop="business_scale")
        self.execute(
            "ALTER TABLE kept.domains DROP COLUMN business_scale",
            f"ALTER TABLE kept.domains ADD COLUMN business_scale text DEFAULT 'scale {number}'",
        )
        self.show_tables()

    def set_disk_back(self) -> None:
        """The server's disk is the copy that was made before, if there is one."""
        if self.is_copied:
            self.server.stop("immediate")
            shutil.rmtree(self.server.data)
            self.copy_folder(self.server.folder / "copy", self.server.data)
            self.server.start()

    # --- nothing that is read changes

    def copy_disk(self) -> None:
        self.server.stop()
        shutil.rmtree(self.server.folder / "copy", ignore_errors=True)
        self.copy_folder(self.server.data, self.server.folder / "copy")
        self.server.start()
        self.is_copied = True
        self.names = [self.name]

    def restart(self) -> None:
        self.server.stop(self.chance.choice(["fast", "immediate"]))
        self.server.start()

    def write_the_same(self) -> None:
        low = self.chance.randrange(0, 900)
        self.execute(f"UPDATE kept.domains SET domain = domain WHERE id BETWEEN {low} AND {low + 200}")

    def rewrite(self) -> None:
        self.execute("VACUUM FULL kept.domains", "VACUUM FULL kept.gleif_candidates")

    def dump(self) -> None:
        """The source is a dump in another database from now on, which the operator accepts."""
        self.copies += 1
        other = f"copy_{self.name}_{self.copies}"
        with self.server.database().connect(autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {other}".encode())
        address = ["-h", str(self.server.folder), "-p", str(self.server.port), "-U", "postgres"]
        programs = self.server.programs
        dumped = subprocess.run([programs / "pg_dump", *address, self.name], capture_output=True, check=True)
        subprocess.run(
            [programs / "psql", *address, "-q", "-d", other], input=dumped.stdout, check=True, stdout=subprocess.DEVNULL
        )
        self.name, self.accepts = other, True

    # ---

    def show_tables(self, company_name: str = "company_name", drop: str = "") -> None:
        """Make the views again: all columns, one of them as this expression."""
        for table in ("domains", "gleif_candidates"):
            columns = self.ask(
                "SELECT attname FROM pg_attribute WHERE attnum > 0 AND NOT attisdropped"
                f" AND attrelid = 'kept.{table}'::regclass ORDER BY attname"
            )
            names = [str(row[0]) for row in columns if row[0] != drop]
            shown = [f"{company_name} AS company_name" if name == "company_name" else name for name in names]
            self.execute(f"DROP VIEW IF EXISTS public.{table}", VIEW.format(table=table, columns=", ".join(shown)))

    @staticmethod
    def copy_folder(source: Path, target: Path) -> None:
        shutil.copytree(source, target)
        owner = account()
        for path in (target, *target.rglob("*")):
            if owner:
                os.chown(path, owner["user"], owner["group"])

    def export(self, folder: str = "steps") -> Snapshot:
        configured = settings_for(self.database, self.folder / folder, segment_size=SEGMENT, min_rows_pct=0)
        # A disk that was set back can be without the database that a dump went to.
        snapshot = export(configured, Acceptance(new_source=self.accepts))
        self.accepts = False
        assert_agrees(self.database, snapshot)
        self.compared += 1
        return snapshot

    def step(self) -> None:
        """What happens between two exports."""
        before = self.export()
        changes: dict[Callable[[], None], int] = {
            self.write: 12, self.rename_label: 2, self.change_expression: 2, self.change_default: 1,
            self.set_disk_back: 2,
        }  # fmt: skip
        without_effect: dict[Callable[[], None], int] = {
            self.write_the_same: 3, self.rewrite: 1, self.restart: 1, self.copy_disk: 1,
        }  # fmt: skip
        is_quiet = self.chance.random() < 0.3
        for _ in range(self.chance.randrange(1, 4)):
            kinds = without_effect if is_quiet else changes | without_effect
            kind = self.chance.choices(list(kinds), list(kinds.values()))[0]
            if kind == self.set_disk_back and self.names != [self.name]:
                continue
            kind()
        if self.chance.random() < 0.1:
            self.dump()
        is_copy = self.accepts
        after = self.export()
        if is_quiet and is_copy:
            assert after.manifest.changed_segments == ()
            assert after.manifest.base_snapshot == before.manifest.id
        elif is_quiet:
            assert after.manifest.id == before.manifest.id


def history_of(server: Server, folder: Path, seed: int) -> History:
    """A new source in a database of its own."""
    chance = random.Random(seed)  # noqa: S311
    name = f"history_{seed}_{time.monotonic_ns()}"
    with server.database().connect(autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    history = History(server, folder, chance, name)
    history.execute(
        "CREATE SCHEMA kept", f"CREATE TYPE kept.label AS ENUM ({', '.join(repr(label) for label in LABELS[:20])})"
    )
    with history.database.connect() as connection:
        create_source_tables(connection, "kept", {"domains": {"selection_algorithm": "kept.label"}})
        domains, candidates = random_rows(seed % 1000, 200)
        labelled = [{**row, "selection_algorithm": chance.choice([None, *LABELS[:20]])} for row in domains]
        insert_source(connection, labelled, candidates, "kept")
    history.show_tables()
    return history


def run_history(server: Server, folder: Path, seed: int, steps: int) -> int:
    """Run a history; how many exports were compared."""
    history = history_of(server, folder, seed)
    for _ in range(steps):
        history.step()
    last = history.export()
    verify_snapshot(last)
    whole = history.export("whole")
    for table in published_tables(include_full_data=False):
        of_steps, of_whole = (read_parquet_face(s.folder, table.name) for s in (last, whole))
        assert_same(of_steps, of_whole, what=table.name)
    return history.compared


def main() -> None:
    """Run random histories for a time."""
    until = time.monotonic() + float(sys.argv[1])
    compared = histories = 0
    folder_of_run = begin_run()
    with new_server(embedded_programs()) as server:
        while time.monotonic() < until:
            seed = random.SystemRandom().randrange(2**32)
            sys.stdout.write(f"seed {seed}\n")
            with tempfile.TemporaryDirectory() as folder:
                compared += run_history(server, Path(folder), seed, steps=8)
            histories += 1
    if folder_of_run is not None:
        end_run(folder_of_run)
    sys.stdout.write(f"{compared} exports of {histories} histories compared, all equal\n")


if __name__ == "__main__":
    main()
