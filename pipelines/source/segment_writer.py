"""Rows in physical order go out to segment files (DESIGN 3.5): candidates of a segment can lie on any page."""

import threading
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from pipelines.build.staging import StagingFolder, unwritable
from pipelines.contracts.records import SegmentRecord
from pipelines.contracts.segments import Segmentation, in_order
from pipelines.contracts.source import SourceTable

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Stable argsort of uint16 is a radix sort: 1 core-second for 4.7 million rows in all, with one take (FACTS 3.1).
_RADIX_LIMIT = 2**16


class SegmentFiles:
    """The segment files of a staging while they grow; safe to append to from several threads.

    A file is an Arrow IPC stream without its end mark: each append opens, writes and closes it, so that the number of
    segments is not bound by the number of open files.

    Raises:
        StagingError: Their folder can't be made.
    """

    def __init__(self, staging: StagingFolder, segmentation: Segmentation) -> None:
        self._staging = staging
        self._segmentation = segmentation
        self._locks: defaultdict[Path, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()
        self._rows: defaultdict[int | None, Counter[str]] = defaultdict(Counter)
        try:
            (staging.path / "source").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(staging.path, error) from None

    def append(self, table: SourceTable, batch: pa.RecordBatch) -> None:
        """Distribute a batch over the files of its segments, by `table.segment_column`.

        Raises:
            StagingError: A file can't be written.
        """
        for segment, part in _split(batch, table.segment_column, self._segmentation):
            path = self._staging.source_file(table.name, segment)
            with self._guard:
                lock = self._locks[path]
                self._rows[segment][table.name] += part.num_rows
            message = part.serialize()
            try:
                with lock:
                    is_new = not path.exists()
                    if is_new:  # without parents: a thread that was given up must not make a removed staging again
                        path.parent.mkdir(exist_ok=True)
                    with path.open("ab") as file:
                        if is_new:
                            file.write(part.schema.serialize())
                        file.write(message)
            except OSError as error:
                raise unwritable(self._staging.path, error) from None

    def segments(self, wanted: Iterable[int | None] | None = None) -> tuple[SegmentRecord, ...]:
        """What was written, in segment order, None last; of wanted segments, those without a row too."""
        listed = in_order(set(self._rows) | set(wanted or ()))
        return tuple(SegmentRecord(segment=segment, rows=dict(self._rows.get(segment, {}))) for segment in listed)

    def rows(self) -> Counter[str]:
        """Rows written, by source table."""
        return sum(self._rows.values(), Counter())


def _split(batch: pa.RecordBatch, column: str, segmentation: Segmentation) -> list[tuple[int | None, pa.RecordBatch]]:
    """The rows of a batch by segment, in their order."""
    parts: list[tuple[int | None, pa.RecordBatch]] = []
    if not batch.num_rows:
        return parts
    ids = batch.column(column)
    if ids.null_count:
        parts.append((None, batch.filter(ids.is_null())))
        batch = batch.filter(ids.is_valid())
        ids = batch.column(column)
        if not batch.num_rows:
            return parts
    places: NDArray[np.intp] = np.searchsorted(np.array(segmentation.cuts, np.int64), ids.to_numpy(), side="right")
    numbers = segmentation.numbers
    if places.min() == places.max():
        return [*parts, (numbers[places[0]], batch)]
    if (np.diff(places) < 0).any():
        order = np.argsort(places.astype(np.uint16) if len(numbers) < _RADIX_LIMIT else places, kind="stable")
        batch = batch.take(pa.array(order))
        places = places[order]
    starts = np.flatnonzero(np.diff(places, prepend=-1))
    ends = np.append(starts[1:], len(places))
    parts += [(numbers[places[s]], batch.slice(int(s), int(e - s))) for s, e in zip(starts, ends, strict=True)]
    return parts
