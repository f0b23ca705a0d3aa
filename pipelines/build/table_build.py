"""A table while it is built in a staging: tasks write its files, and what they say of them is put together here."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl

from pipelines.build.staging import StagingFolder
from pipelines.checks.evaluation import TableChecks
from pipelines.contracts.records import CheckRecord, FileRecord, StagingRecord, TableRecord
from pipelines.contracts.segments import NO_DOMAIN_ID, segment_name
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.parquet import write_parquet
from pipelines.system.files import Digests, link_or_copy, write_failure


@dataclass
class TablePart:
    """What a task says of the rows of a table that it computed.

    Attributes:
        file: The file that it wrote; None: there was no row.
        checks: What the checks of every table found in the rows.
        timings: Seconds per stage.
        content: What the checks of their content found (checks/content.py); empty where the table has none.
    """

    file: FileRecord | None
    checks: TableChecks
    timings: dict[str, float]
    content: dict[str, Any] = field(default_factory=dict)


def write_part(
    rows: pl.DataFrame,
    table: Table,
    tables_dir: Path,
    number: int | None,
    check_content: Callable[[], None] = lambda: None,
) -> TablePart:
    """Check and write the rows of one file of a table.

    Args:
        rows: All rows of a segment or key range, or of the table, in its order; none gives no file.
        tables_dir: The staging's folder of tables; that of this table is there already.
        number: The segment or the key range; None: rows without a domain_id, or all rows.
        check_content: Checks what is in them, also where there are none.

    Raises:
        PublishError: The file can't be written.
    """
    checks, timings = TableChecks(table), dict[str, float]()
    with timed(timings, "check"):
        check_content()
        if not rows.is_empty():
            checks.update(rows)
    if rows.is_empty():
        return TablePart(None, checks, timings)
    with timed(timings, "write"):
        file = write_parquet(rows, tables_dir / table.name / file_name(table, number), table=table, segment=number)
    return TablePart(file, checks, timings)


def file_name(table: Table, number: int | None) -> str:
    """Name of a file of a table. Name order is the order of the table.

    Args:
        number: The segment or the key range; None: rows without a domain_id of a segmented table, else all rows.
    """
    if table.range_key is not None:
        return f"{number or 0:04d}.parquet"
    stem = NO_DOMAIN_ID if table.is_segmented and number is None else segment_name(number)
    return f"{stem}.parquet"


def scan_files(folder: Path, files: Iterable[FileRecord]) -> pl.LazyFrame:
    """Rows of one file or more, whose paths begin at a folder: of tables of a staging, or of a snapshot."""
    return pl.scan_parquet([folder / file.path for file in files], glob=False, hive_partitioning=False)


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Count the seconds of the body as a stage."""
    started = time.monotonic()
    try:
        yield
    finally:
        timings[stage] = timings.get(stage, 0.0) + time.monotonic() - started


class TableBuild:
    """A table while it is built.

    Attributes:
        timings: Seconds per stage so far; the builder adds its own.
        checks: The checks of every table, of the rows that were computed so far.
    """

    def __init__(self, table: Table, staging: StagingFolder, record: StagingRecord, digests: Digests) -> None:
        self.table = table
        self.timings: defaultdict[str, float] = defaultdict(float)
        self._staging = staging
        self._digests = digests
        self._segmentation = record.segmentation
        self._folder = staging.start_table(table.name)
        self.checks = TableChecks(table)
        self._files: list[FileRecord] = []
        self._cuts: tuple[str, ...] = ()
        self._base: Snapshot | None = None

    def cut_at(self, cuts: Sequence[str]) -> None:
        """Say how the keys of a table in key ranges are cut."""
        if self.table.range_key is not None:
            self._cuts = tuple(cuts)

    def add(self, part: TablePart) -> None:
        """Add a file that a task wrote."""
        self.checks.add(part.checks)
        for stage, seconds in part.timings.items():
            self.timings[stage] += seconds
        if part.file is not None:
            self._files.append(part.file)
            self._digests.remember(self._folder / Path(part.file.path).name, part.file.sha256)

    def reuse(self, base: Snapshot, changed: frozenset[int | None]) -> None:
        """Take the files of all other segments from a published snapshot.

        Raises:
            PublishError: A file can't be linked or copied.
        """
        self._base = base
        with timed(self.timings, "reuse"):
            for file in base.record_of(self.table.name).files:
                if file.segment not in changed and file.rows:
                    self._link(base, file)

    def finish(self, content: Sequence[CheckRecord], findings: Mapping[str, dict[str, Any]] = {}) -> TableRecord:
        """Close the table: one file at least, its checks, its record.

        Args:
            findings: What these found, by segment name; empty where it can't be told by segment.
        """
        none = self.table.schema.create_empty()
        with timed(self.timings, "write"):
            if not self._files:
                first = self._segmentation.numbers[0] if self.table.is_segmented else None
                number = 0 if self.table.range_key is not None else first
                path = self._folder / file_name(self.table, number)
                self._files = [write_parquet(none, path, table=self.table, segment=number, digests=self._digests)]
        rows = sum(file.rows for file in self._files)
        if not rows:
            self.checks.update(none)
        checks = (*self._general_results(rows), *content)
        record = TableRecord(
            name=self.table.name,
            staging_id=self._staging.staging_id,
            contract_version=CONTRACT_VERSION,
            rows=rows,
            files=tuple(sorted(self._files, key=lambda file: file.path)),
            cuts=self._cuts,
            checks=tuple(_stating(check, rows, self._staging.staging_id) for check in checks),
            timings_s={name: round(seconds, 3) for name, seconds in self.timings.items()},
            findings=dict(findings),
        )
        self._staging.write_table_record(record)
        return record

    def _general_results(self, rows: int) -> list[CheckRecord]:
        """Results of the checks that every table has; of rows that are reused, those of the run that checked them.

        Only what passed them was ever published.
        """
        results, checked = self.checks.results(), self.checks.rows
        if self._base is None or checked == rows:
            return results
        before = self._base.manifest.id
        if checked:
            more = {"others_checked_before": before}
            return [check.model_copy(update={"metadata": check.metadata | more}) for check in results]
        known = {check.name: check for check in self._base.record_of(self.table.name).checks}
        return [_stating(known.get(check.name, check), rows, before) for check in results]

    def _link(self, base: Snapshot, file: FileRecord) -> None:
        try:
            link_or_copy(base.folder / file.path, self._folder / Path(file.path).name)
        except OSError as error:
            raise write_failure(f"{file.path} could not be reused", error) from error
        self._files.append(file)


def _stating(check: CheckRecord, rows: int, snapshot_id: str) -> CheckRecord:
    """A result with the rows that it stands for, and the snapshot whose run found it where it does not say so."""
    return check.model_copy(update={"rows": rows, "found_by": check.found_by or snapshot_id})
