"""Ranges of keys: of domain hashes and of LEIs. The rows of a range are all that derived tables need of its keys.

What a segment has of each range is a piece, in three kinds: domain rows by hash, candidates by hash, candidates by LEI.
A derived table has a Parquet file for each range, so all rules see one range at a time, and memory is that of a few.
"""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import dataframely as dy
import numpy as np
import polars as pl
import pyarrow as pa

from pipelines.build.pieces import INDEX, MAX_KEY_RANGES, write_pieces
from pipelines.build.rules import BY_HASH, BY_LEI, DOMAINS, columns_of
from pipelines.contracts.exports import CandidateExports, DomainExports
from pipelines.contracts.segments import segment_name
from pipelines.system.files import write_failure

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Candidates of a range, about. 200,000 take about 100 MB while a range is computed, and 0.2 s.
RANGE_ROWS = 200_000
# Of more ranges the pieces become small, and each costs half a millisecond: ranges become larger, up to twice that.
_MANY_RANGES, _MOST_ROWS = 125, 2
_HEX_DIGITS = 4
_PREFIXES = 16**_HEX_DIGITS

# Rows that are gathered and converted in one go, of one piece and more: 20 MB. One by one, pieces of 1,000 rows take
# 1.6 times as long.
_ROWS_AT_A_TIME = 50_000
_NO_VIEWS = pl.CompatLevel.oldest()
# A candidate finds its hash through its domain row: 32 bytes less a row.
_LINKS = {DOMAINS: {"domain_id", "domain_hash"}, BY_HASH: {"domain_id"}, BY_LEI: set[str]()}


def _schema(schema: type[dy.Schema], kind: str) -> pl.Schema:
    names = columns_of(kind) | _LINKS[kind]
    if kind == BY_HASH:
        names -= {"domain_hash"}
    return pl.Schema({name: column.dtype for name, column in schema.columns().items() if name in names})


SCHEMAS: Mapping[str, pl.Schema] = {
    DOMAINS: _schema(DomainExports, DOMAINS),
    BY_HASH: _schema(CandidateExports, BY_HASH),
    BY_LEI: _schema(CandidateExports, BY_LEI),
}


@dataclass(frozen=True)
class KeyRanges:
    """How the keys are cut.

    Attributes:
        hash_count: Ranges of domain hashes; md5 spreads evenly, so they have equal width.
        lei_cuts: The lowest LEI of every range but the first, ascending: issuers' prefixes are not even.
    """

    hash_count: int
    lei_cuts: tuple[str, ...]

    @cached_property
    def hash_cuts(self) -> tuple[str, ...]:
        """The lowest hash of every range but the first, as its first digits."""
        n = self.hash_count
        return tuple(f"{math.ceil(number * _PREFIXES / n):0{_HEX_DIGITS}x}" for number in range(1, n))

    def cuts(self, kind: str) -> tuple[str, ...]:
        """The cuts of a kind of ranges, BY_HASH or BY_LEI."""
        return self.hash_cuts if kind == BY_HASH else self.lei_cuts

    def as_json(self) -> str:
        """The ranges as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "KeyRanges":
        """The ranges that `as_json` wrote."""
        found = json.loads(text)
        return cls(found["hash_count"], tuple(found["lei_cuts"]))

    def of_hashes(self, hashes: pl.Series) -> "NDArray[np.uint16]":
        """The range of each hash."""
        prefix = hashes.str.slice(0, _HEX_DIGITS).str.to_integer(base=16, dtype=pl.UInt32)
        return ((prefix.to_numpy() * np.uint32(self.hash_count)) >> np.uint32(4 * _HEX_DIGITS)).astype(np.uint16)

    def of_leis(self, codes: pl.Series) -> "NDArray[np.uint16]":
        """The range of each LEI."""
        if not self.lei_cuts:
            return np.zeros(codes.len(), np.uint16)
        cuts = pl.Series(self.lei_cuts, dtype=pl.String)
        return cuts.search_sorted(codes, side="right").to_numpy().astype(np.uint16)


def plan_key_ranges(domains: int, candidates: int, leis: pl.Series, range_rows: int) -> KeyRanges:
    """Cut the keys so that each range has about as many rows.

    Args:
        leis: A sample of the LEIs of candidates, repeated as often as they are.
        range_rows: Rows of a range, about.
    """
    count = range_count(max(domains, candidates), range_rows)
    leis = leis.drop_nulls().sort()
    places = [leis.len() * number // count for number in range(1, count)] if leis.len() else []
    cuts = leis.gather(places).unique(maintain_order=True).to_list()
    return KeyRanges(count, tuple(cuts))


def range_count(rows: int, range_rows: int = RANGE_ROWS) -> int:
    """How many ranges so many rows are cut into.

    Args:
        range_rows: Rows of a range, about; of more than _MANY_RANGES up to twice as many.
    """
    count = min(_MANY_RANGES, math.ceil(rows / range_rows))
    return min(MAX_KEY_RANGES, max(1, count, math.ceil(rows / (_MOST_ROWS * range_rows))))


def write_key_pieces(
    folder: Path, segment: int | None, domains: pl.DataFrame, candidates: pl.DataFrame, ranges: KeyRanges
) -> pl.DataFrame:
    """Write the rows of one segment by range of keys; they keep their order within a range.

    Args:
        folder: Where the files lie; it is there already.
        domains: Rows of domain_exports, sorted by domain_id; columns of SCHEMAS[DOMAINS] are taken.
        candidates: Rows of candidate_exports of the same ids; columns of the two other kinds are taken.

    Returns:
        Index of the files (pieces.INDEX); no file where there is no row.

    Raises:
        PublishError: A file can't be written.
    """
    if domains.is_empty():
        return INDEX.to_frame()
    of_domains = ranges.of_hashes(domains["domain_hash"])
    places = np.searchsorted(domains["domain_id"].to_numpy(), candidates["domain_id"].to_numpy())
    found = [_write(folder, segment, DOMAINS, domains, of_domains)]
    if candidates.height:
        found.append(_write(folder, segment, BY_HASH, candidates, of_domains[places]))
        found.append(_write(folder, segment, BY_LEI, candidates, ranges.of_leis(candidates["lei_code"])))
    return pl.concat(found)


def _write(
    folder: Path, segment: int | None, kind: str, rows: pl.DataFrame, ranges: "NDArray[np.uint16]"
) -> pl.DataFrame:
    # Stable argsort of uint16 is a radix sort, and one gather is half of what partition_by costs (FACTS 3.1).
    order = np.argsort(ranges, kind="stable")
    in_order = ranges[order]
    starts = np.flatnonzero(np.diff(in_order.astype(np.int32), prepend=-1)).tolist()
    name = f"{segment_name(segment)}-{kind}.arrow"
    pieces = _slices(rows.select(SCHEMAS[kind].names()), order, in_order, [*starts, len(in_order)])
    try:
        return write_pieces(folder, name, kind, arrow_schema(kind), pieces)
    except OSError as error:
        raise write_failure(f"{folder.name}/{name} could not be written", error) from error


def _slices(
    rows: pl.DataFrame, order: "NDArray[np.intp]", ranges: "NDArray[np.uint16]", limits: Sequence[int]
) -> Iterator[tuple[int, pa.RecordBatch]]:
    """The range of each piece and its rows.

    Args:
        order: Places of the rows, by range.
        ranges: Their ranges, in this order.
        limits: Where a range begins, and the end.
    """
    first = 0
    while first < len(limits) - 1:
        last = first + 1
        while last < len(limits) - 1 and limits[last + 1] - limits[first] <= _ROWS_AT_A_TIME:
            last += 1
        start = limits[first]
        # No views: a slice of views carries all texts.
        part = rows[order[start : limits[last]]].to_arrow(compat_level=_NO_VIEWS).combine_chunks()
        (batch,) = part.to_batches()
        for low, high in pairwise(limits[first : last + 1]):
            yield int(ranges[low]), batch.slice(low - start, high - low)
        first = last


def arrow_schema(kind: str) -> pa.Schema:
    """SCHEMAS[kind] as pieces have it."""
    return SCHEMAS[kind].to_frame().to_arrow(compat_level=_NO_VIEWS).schema
