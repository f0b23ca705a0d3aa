"""Open one batch of a published snapshot, and read it in chunks of bounded size.

Everything comes from the one snapshot that was handed in: a switch of `current` meanwhile changes nothing, and a folder
that is cleared away stays readable while the batch is open.
"""

from collections.abc import Callable, Iterator, Mapping, Sized
from dataclasses import dataclass
from typing import Self, TypeVar

import numpy as np
import numpy.typing as npt

from pipelines.contracts.tables import DOMAIN_EXPORTS, candidate_exports
from pipelines.errors import BatchNotFoundError, SnapshotError
from pipelines.query.batch.chunks import ChunkQueries, ChunkSize, LargeDomain
from pipelines.query.bounded import DoesNotFitError
from pipelines.query.database import Reader, open_database
from pipelines.query.queries import closest_batch_ids, relation_of
from pipelines.query.query_memory import QueryMemory
from pipelines.snapshots.opening import Snapshot
from pipelines.system.printable import printable

_Rows = TypeVar("_Rows", bound=Sized)
# Ids of rows of domain_exports, ascending.
_Ids = npt.NDArray[np.int64]

_DOMAINS, _CANDIDATES = DOMAIN_EXPORTS.name, candidate_exports(include_full_data=False).name
DOMAINS, CANDIDATES = relation_of(_DOMAINS), relation_of(_CANDIDATES)

# Columns of candidate_exports that repeat those of their domain row.
OF_THE_DOMAIN = ("domain_id", "domain_hash", "domain", "batch_id")

# Of a command that writes a batch; a row of it may have a quarter of that before it is read in pieces. DuckDB caches
# what it read up to its usual limit: so a batch takes as much memory from a large file as from a small one.
MEMORY_MB, LEAST_MEMORY_MB = 1_024, 64
_USUAL_DUCKDB_MB = 64
# Rows whose ids and counts are in memory at a time, 1.6 MB.
_PLANNED_ROWS = 100_000
_FIRST_ID, _LAST_ID = -(2**63), 2**63 - 1
_SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class Batch:
    """One batch of one snapshot, open for reading; to be closed. Of use to one thread at a time.

    Attributes:
        domain_count: Its rows of domain_exports.
        candidate_count: Its rows of candidate_exports.
        domain_columns: DuckDB types of domain_exports by name, in published order.
        candidate_columns: The same of candidate_exports, without what a domain row and its candidates share.
    """

    batch_id: str
    domain_count: int
    candidate_count: int
    domain_columns: Mapping[str, str]
    candidate_columns: Mapping[str, str]
    _reader: Reader
    _on_close: Callable[[], None] = lambda: None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let the snapshot's file go."""
        self._reader.close()
        self._on_close()

    @property
    def snapshot(self) -> Snapshot:
        """Where it is read from."""
        return self._reader.snapshot

    @property
    def memory(self) -> QueryMemory:
        """What its queries may take."""
        return self._reader.memory

    def _chunks(self, size: ChunkSize) -> Iterator[_Ids]:
        """Ids of its rows in parts of bounded size, in order."""
        for ids, counts in self._plan():
            totals = np.cumsum(counts)
            start, before = 0, 0
            while start < len(ids):
                fitting = int(np.searchsorted(totals, before + size.candidates, side="right"))
                end = max(start + 1, min(fitting, start + size.domains))
                yield ids[start:end]
                start, before = end, int(totals[end - 1])

    def read(
        self,
        ask: Callable[[ChunkQueries], _Rows],
        size: ChunkSize,
        ask_large: Callable[[LargeDomain], _Rows] | None = None,
    ) -> Iterator[_Rows]:
        """Rows chunk by chunk.

        Args:
            ask: Asks for the rows of a chunk, one a domain in order of domain id; it is called again for less of them
                where memory does not suffice.
            ask_large: Makes the row of a domain that does not fit with its candidates, value by value; None: such a row
                can't be made.

        Raises:
            AnswerTooLargeError: A row does not fit, however it is asked for.
            SnapshotError: DuckDB can't read the file any more, or a row is missing.
        """
        for planned in self._chunks(size):
            chunks = [planned]
            while chunks:
                ids = chunks.pop()
                rows = self._ask(ask, ids)
                # Rows are of any size: one of them may take more than the memory of a usual chunk.
                if rows is None and len(ids) > 1:
                    chunks += [ids[len(ids) // 2 :], ids[: len(ids) // 2]]
                    continue
                if rows is None:
                    domain = LargeDomain(self._reader, DOMAINS, CANDIDATES, int(ids[0]))
                    if ask_large is None:
                        raise domain.too_large()
                    rows = ask_large(domain)
                if len(rows) != len(ids):
                    raise self._damaged(ids, len(rows))
                yield rows

    def _plan(self) -> Iterator[tuple[_Ids, npt.NDArray[np.int64]]]:
        """Ids of its rows, ascending, and how many candidates each has, some at a time."""
        query = (
            f"SELECT domain_id, gleif_candidate_count FROM {DOMAINS} WHERE batch_id = $batch_id AND domain_id >= $first"
            f" ORDER BY domain_id LIMIT {_PLANNED_ROWS}"
        )
        first = _FIRST_ID
        while True:
            found = self._reader.numbers(query, {"batch_id": self.batch_id, "first": first})
            ids = np.asarray(found["domain_id"], np.int64)
            if len(ids):
                yield ids, np.asarray(found["gleif_candidate_count"], np.int64)
            if len(ids) < _PLANNED_ROWS or ids[-1] == _LAST_ID:
                return
            first = int(ids[-1]) + 1

    def _ask(self, ask: Callable[[ChunkQueries], _Rows], ids: _Ids) -> _Rows | None:
        """The rows of a chunk; None: they do not fit. Where DuckDB reads a large row with them, it may alone."""
        is_one_domain = len(ids) == 1
        parameters = {"batch_id": self.batch_id, "first_id": int(ids[0]), "last_id": int(ids[-1])}
        for alone in (False, True):
            try:
                return ask(ChunkQueries(self._reader, parameters, alone, is_one_domain))
            except DoesNotFitError as error:
                if not (error.is_in_duckdb or is_one_domain):
                    break
        return None

    def _damaged(self, ids: _Ids, rows: int) -> SnapshotError:
        return SnapshotError(
            f"Snapshot {self.snapshot.manifest.id} is damaged",
            expected=f"{len(ids):,} rows of domain ids {ids[0]} to {ids[-1]}",
            found=f"{rows:,}",
            fix="verify the snapshot, or export again",
        )


def open_batch(snapshot: Snapshot, batch_id: str, memory_mb: int = MEMORY_MB) -> Batch:
    """Open a batch, about 20 ms.

    Args:
        snapshot: Where to read it; resolve `current` once before (`current_snapshot`).
        batch_id: Its id, compared byte for byte.
        memory_mb: Most memory that reading and writing it takes, MB; usual rows take a few of them.

    Raises:
        BatchNotFoundError: The snapshot has no such batch; the message names the closest ones.
        SnapshotError: The snapshot's DuckDB file can't be read.
    """
    database = open_database(snapshot, QueryMemory(memory_mb, "--memory-mb", usual_duckdb_mb=_USUAL_DUCKDB_MB))
    reader = database.reader()
    try:
        batch = batch_of(reader, batch_id, database.close)
        _require_rows(reader, batch)
    except BaseException:
        reader.close()
        database.close()
        raise
    return batch


def batch_of(reader: Reader, batch_id: str, on_close: Callable[[], None] = lambda: None) -> Batch:
    """A batch that is read through a reader, which is closed with it.

    Args:
        batch_id: The batch's id. Of an unknown one the batch has no rows.
        on_close: Called after the reader was closed.

    Raises:
        SnapshotError: The file can't be read.
    """
    # Columns of the file, not of the contract: a snapshot of an older version of the contract is written as it is.
    domain_columns, candidate_columns = reader.columns_of(_DOMAINS), reader.columns_of(_CANDIDATES)
    counts = f"SELECT count(*), coalesce(sum(gleif_candidate_count), 0) FROM {DOMAINS} WHERE batch_id = $batch_id"
    domains, candidates = reader.rows(counts, {"batch_id": batch_id})[0] if _is_text(batch_id) else (0, 0)
    return Batch(
        batch_id=batch_id,
        domain_count=int(domains),
        candidate_count=int(candidates),
        domain_columns=domain_columns,
        candidate_columns={name: kind for name, kind in candidate_columns.items() if name not in OF_THE_DOMAIN},
        _reader=reader,
        _on_close=on_close,
    )


def shown_id(batch_id: str) -> str:
    """A batch id for a message: in quotes, cut when it is long, with nothing that a terminal would act on."""
    cut = batch_id if len(batch_id) <= _SHOWN_CHARACTERS else f"{batch_id[:_SHOWN_CHARACTERS]}…"
    return f'"{printable(cut)}"'


def _is_text(batch_id: str) -> bool:
    # Arguments of a command that are no UTF-8 come as lone surrogates, which no database holds.
    return not any("\ud800" <= character <= "\udfff" for character in batch_id)


def _require_rows(reader: Reader, batch: Batch) -> None:
    if batch.domain_count:
        return
    closest = ", ".join(map(shown_id, closest_batch_ids(reader, "".join(filter(_is_text, batch.batch_id)))))
    raise BatchNotFoundError(
        f"Snapshot {batch.snapshot.manifest.id} has no such batch",
        expected="the id of a published batch, byte for byte",
        found=shown_id(batch.batch_id),
        fix=f"take one of the closest ids: {closest}; or export again, if the batch is newer"
        if closest
        else "export again: the snapshot has no batch at all",
    )
