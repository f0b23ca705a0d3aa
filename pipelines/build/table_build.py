"""A table while it is built in a staging: checks and writes its rows part by part, then closes it."""

import shutil
import time
from collections import defaultdict
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import polars as pl

from pipelines.build.merging import Range, is_within, merge_in_ranges
from pipelines.build.staging import StagingFolder
from pipelines.checks.evaluation import TableChecks
from pipelines.contracts.records import CheckRecord, FileRecord, StagingRecord, TableRecord
from pipelines.contracts.segments import Segmentation, segment_name
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.parquet import write_parquet
from pipelines.system.files import Digests, link_or_copy, write_failure


class ContentChecks(Protocol):
    """Checks of what is in a table; the builder of the table hands over its rows."""

    def results(self) -> list[CheckRecord]:
        """One record a check, in the order of the definitions."""

    def findings(self) -> dict[str, dict[str, Any]]:
        """What was found, by segment name; empty where it can't be told by segment."""


class NoContentChecks:
    """For a table that has none."""

    def results(self) -> list[CheckRecord]:
        """No record."""
        return []

    def findings(self) -> dict[str, dict[str, Any]]:
        """Nothing."""
        return {}


@dataclass(frozen=True)
class _Part:
    """Rows that were put aside, and the least and greatest of their first sort key; None: it is NULL in all of them."""

    path: Path
    least: Any
    greatest: Any

    @property
    def rows(self) -> pl.LazyFrame:
        return pl.scan_ipc(self.path, glob=False)

    def meets(self, some: Range) -> bool:
        """Whether a row may lie in a range."""
        low, high = some
        if self.least is None:
            return False
        return (low is None or self.greatest >= low) and (high is None or self.least < high)


class TableBuild:
    """A table while it is built.

    Attributes:
        table: Its contract.
        timings: Seconds per stage so far; the builder adds its own.
    """

    def __init__(
        self,
        table: Table,
        staging: StagingFolder,
        record: StagingRecord,
        digests: Digests,
        content: ContentChecks | None = None,
    ) -> None:
        self.table = table
        self.timings: defaultdict[str, float] = defaultdict(float)
        self._staging = staging
        self._digests = digests
        self._segmentation = record.segmentation
        self._folder = staging.start_table(table.name)
        self._checks = TableChecks(table)
        self._content = content or NoContentChecks()
        self._files: list[FileRecord] = []
        self._parts: list[_Part] = []
        self._base: Snapshot | None = None
        self._kept: pl.LazyFrame | None = None
        self._replaced: pl.LazyFrame | None = None

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the seconds of the body as a stage of this table."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.timings[stage] += time.monotonic() - started

    def add(self, frame: pl.DataFrame, segment: int | None) -> None:
        """Check and write rows that follow the ones before.

        Args:
            frame: Rows in the table's order; none writes nothing.
            segment: Their segment; of a table without segments, None or anything, only their order counts.
        """
        if frame.is_empty():
            return
        with self.timed("check"):
            self._checks.update(frame)
        with self.timed("write"):
            if self.table.is_segmented:
                self._files.append(self._write(frame, segment))
            else:
                self._add_part(frame)

    def reuse(self, base: Snapshot, changed: frozenset[int | None]) -> None:
        """Take the rows of all other segments from a published snapshot: its files, or of one file its rows.

        Raises:
            PublishError: A file can't be linked or copied.
        """
        numbers = frozenset(changed)
        self._base = base
        with self.timed("reuse"):
            if not self.table.is_segmented:
                self._kept = _of_other_segments(base.scan(self.table.name), numbers, self._segmentation)
                return
            for file in base.record_of(self.table.name).files:
                if file.segment not in numbers and file.rows:
                    self._link(base, file)

    def replace(self, base: Snapshot, keys: pl.Series, rows: pl.DataFrame) -> None:
        """Take the rows of all other keys from a published snapshot; where none is named, its file as it is.

        Args:
            keys: Keys (of one column, which the table is sorted by) whose rows in the snapshot no longer count.
            rows: Their rows now, sorted.

        Raises:
            PublishError: A file can't be linked or copied.
        """
        self._base = base
        if keys.is_empty():
            with self.timed("reuse"):
                for file in base.record_of(self.table.name).files:
                    self._link(base, file)
            return
        with self.timed("check"):
            self._checks.update(rows)
        (key,) = self.table.key
        kept = base.scan(self.table.name).filter(~pl.col(key).is_in(keys.implode()))
        (path,) = base.parquet_files(self.table.name)
        self._replaced = merge_in_ranges(path, key, kept, lambda some: rows.lazy().filter(is_within(key, some)))

    def finish(self) -> TableRecord:
        """Close the table: one file at least, its checks, its record."""
        with self.timed("write"):
            if self._replaced is not None:
                self._files = [self._write(self._replaced, None)]
            elif self._parts or self._kept is not None:
                self._join_parts()
            elif not self._files:
                segment = self._segmentation.numbers[0] if self.table.is_segmented else None
                self._files = [self._write(self.table.schema.create_empty(), segment)]
        rows = sum(file.rows for file in self._files)
        if not rows:
            self._checks.update(self.table.schema.create_empty())
        checks = (*self._general_results(rows), *self._content.results())
        record = TableRecord(
            name=self.table.name,
            staging_id=self._staging.staging_id,
            contract_version=CONTRACT_VERSION,
            rows=rows,
            files=tuple(sorted(self._files, key=lambda file: file.path)),
            checks=tuple(_stating(check, rows, self._staging.staging_id) for check in checks),
            timings_s={name: round(seconds, 3) for name, seconds in self.timings.items()},
            findings=self._content.findings(),
        )
        self._staging.write_table_record(record)
        return record

    def _general_results(self, rows: int) -> list[CheckRecord]:
        """Results of the checks that every table has; of rows that are reused, those of the run that checked them.

        Only what passed them was ever published.
        """
        results, checked = self._checks.results(), self._checks.rows
        if self._base is None or checked == rows:
            return results
        before = self._base.manifest.id
        if checked:
            return [_with_metadata(check, {"others_checked_before": before}) for check in results]
        known = {check.name: check for check in self._base.record_of(self.table.name).checks}
        return [_stating(known.get(check.name, check), rows, before) for check in results]

    def _link(self, base: Snapshot, file: FileRecord) -> None:
        try:
            link_or_copy(base.folder / file.path, self._file(file.segment))
        except OSError as error:
            raise write_failure(f"{file.path} could not be reused", error) from error
        self._files.append(file)

    def _write(self, frame: pl.LazyFrame | pl.DataFrame, segment: int | None) -> FileRecord:
        return write_parquet(frame, self._file(segment), table=self.table, segment=segment, digests=self._digests)

    def _file(self, segment: int | None) -> Path:
        return self._folder / f"{segment_name(segment)}.parquet"

    def _add_part(self, frame: pl.DataFrame) -> None:
        """Put rows aside, not compressed: they are read once more, for the one file."""
        folder = self._folder / "parts"
        folder.mkdir(exist_ok=True)
        path = folder / f"{len(self._parts):06d}.arrow"
        try:
            frame.write_ipc(path)
        except OSError as error:
            raise write_failure(f"{self.table.name}/parts/{path.name} could not be written", error) from error
        keys = frame[self.table.sort_by[0]]
        self._parts.append(_Part(path, keys.min(), keys.max()))

    def _join_parts(self) -> None:
        if self._kept is None or self._base is None:
            frame = pl.concat([part.rows for part in self._parts])
        else:
            frame = self._merged(self._base, self._kept)
        self._files = [self._write(frame, None)]
        shutil.rmtree(self._folder / "parts", ignore_errors=True)

    def _merged(self, base: Snapshot, kept: pl.LazyFrame) -> pl.LazyFrame:
        """Old and new rows in the table's order. Either are in it already, and no segment has rows of both."""
        key, *_ = self.table.sort_by

        def new_in(some: Range) -> pl.LazyFrame | None:
            found = [part.rows for part in self._parts if part.meets(some)]
            return pl.concat(found).filter(is_within(key, some)) if found else None

        without = [rows.filter(pl.col(key).is_null()) for rows in (kept, *(part.rows for part in self._parts))]
        (path,) = base.parquet_files(self.table.name)
        return pl.concat([merge_in_ranges(path, key, kept, new_in), *without])


def _stating(check: CheckRecord, rows: int, snapshot_id: str) -> CheckRecord:
    """A result with the rows that it stands for, and the snapshot whose run found it where it does not say so."""
    return check.model_copy(update={"rows": rows, "found_by": check.found_by or snapshot_id})


def _with_metadata(check: CheckRecord, more: dict[str, Any]) -> CheckRecord:
    return check.model_copy(update={"metadata": {**check.metadata, **more}})


def _of_other_segments(rows: pl.LazyFrame, changed: Collection[int | None], segmentation: Segmentation) -> pl.LazyFrame:
    """Rows whose domain_id is in no changed segment; None among them stands for rows without a domain_id."""
    is_changed = pl.Series([number in changed for number in segmentation.numbers], dtype=pl.Boolean)
    cuts = pl.Series(segmentation.cuts, dtype=pl.Int64)

    def is_in_changed(ids: pl.Series) -> pl.Series:
        return is_changed.gather(cuts.search_sorted(ids.fill_null(0), side="right"))

    of_changed = pl.col("domain_id").cast(pl.Int64).map_batches(is_in_changed, return_dtype=pl.Boolean)
    is_without = pl.col("domain_id").is_null()
    return rows.filter(~pl.when(is_without).then(pl.lit(None in changed)).otherwise(of_changed))
