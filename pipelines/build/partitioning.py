"""Divides domain rows and candidates of a staging into buckets: by domain hash and by LEI, keeping order."""

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import dataframely as dy
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.build.buckets import Buckets, TextCodes
from pipelines.contracts.exports import CandidateExports, DomainExports
from pipelines.contracts.records import FileRecord, TableRecord
from pipelines.system.prefetch import prefetch

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A bucket of 200,000 candidates takes about 100 MB while it is computed, and 0.2 s.
BUCKET_ROWS = 200_000
_MAX_BUCKETS = 4_096
_HEX_DIGITS = 4
_SAMPLED_LEIS = 200_000
# Texts with few distinct values; they are moved as numbers.
_CODED = (
    "batch_id",
    "status",
    "guessed_country",
    "jurisdiction",
    "entity_status",
    "registration_status",
    "legal_form",
    "entity_category",
)


@dataclass(frozen=True)
class RequiredColumns:
    """Columns that a table is computed from.

    Attributes:
        domains: Of domain_exports, by domain hash.
        by_hash: Of candidate_exports, by domain hash.
        by_lei: Of candidate_exports, by LEI.
    """

    domains: Sequence[str] = ()
    by_hash: Sequence[str] = ()
    by_lei: Sequence[str] = ()


@dataclass(frozen=True)
class Partitions:
    """The buckets; each is read once.

    Attributes:
        hash_buckets: How many there are by domain hash, in the order of the hashes.
        lei_buckets: How many there are by LEI, in the order of the LEIs.
    """

    hash_buckets: int
    lei_buckets: int
    domains: Buckets
    by_hash: Buckets
    by_lei: Buckets
    domain_files: Sequence[Path]

    def read_by_hash(self, bucket: int) -> tuple[pl.DataFrame, pl.DataFrame]:
        """Rows of domain_exports and of candidate_exports of a range of domain hashes."""
        domains = self.domains.read(bucket)
        if not self.by_hash.columns:
            return domains, pl.DataFrame()
        # Candidates are put aside without their hash: 32 bytes less a row, and its domain row has it.
        candidates = self.by_hash.read(bucket).join(
            domains.select("domain_id", "domain_hash"), on="domain_id", maintain_order="left"
        )
        return domains, candidates

    def read_by_lei(self, bucket: int) -> pl.DataFrame:
        """Rows of candidate_exports of a range of LEIs."""
        return self.by_lei.read(bucket)

    def scan_domains(self, columns: Sequence[str]) -> pl.LazyFrame:
        """Columns of all rows of domain_exports."""
        return pl.scan_parquet(list(self.domain_files), glob=False).select(columns)


@dataclass(frozen=True)
class Inputs:
    """The two tables that all others are computed from.

    Attributes:
        tables_dir: The staging's folder of tables.
        domains: Record of domain_exports.
        candidates: Record of candidate_exports.
    """

    tables_dir: Path
    domains: TableRecord
    candidates: TableRecord

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table."""
        return {self.domains.name: self.domains.rows, self.candidates.name: self.candidates.rows}


def divide(inputs: Inputs, folder: Path, needs: Iterable[RequiredColumns], bucket_rows: int) -> Partitions:
    """Divide the rows of both tables.

    Args:
        inputs: The tables.
        folder: Where to put the buckets; not there yet.
        needs: Columns wanted.
        bucket_rows: Rows of a bucket, about.
    """
    tables_dir, domains, candidates = inputs.tables_dir, inputs.domains, inputs.candidates
    wanted = list(needs)
    codes = {name: TextCodes() for name in _CODED}
    by_hash = {name for need in wanted for name in need.by_hash}
    of_domains = {name for need in wanted for name in need.domains}
    # A candidate finds its hash through its domain row.
    links = {"domain_id", "domain_hash"} if by_hash or of_domains else set()
    divided = Partitions(
        hash_buckets=_bucket_count(max(domains.rows, candidates.rows), bucket_rows) if links else 0,
        lei_buckets=_bucket_count(candidates.rows, bucket_rows) if any(need.by_lei for need in wanted) else 0,
        domains=Buckets(folder / "domains", _dtypes(DomainExports, of_domains | links), codes),
        by_hash=Buckets(
            folder / "by_hash",
            _dtypes(CandidateExports, (by_hash | {"domain_id"}) - {"domain_hash"} if by_hash else set()),
            codes,
        ),
        by_lei=Buckets(
            folder / "by_lei", _dtypes(CandidateExports, {name for need in wanted for name in need.by_lei}), codes
        ),
        domain_files=[tables_dir / file.path for file in domains.files],
    )
    bounds = _lei_bounds([tables_dir / file.path for file in candidates.files], divided.lei_buckets)
    candidate_files = {file.segment: file for file in candidates.files}
    columns = dict.fromkeys(("domain_id", *divided.by_hash.columns, *divided.by_lei.columns))

    def read(file: FileRecord) -> _Part:
        rows, hash_buckets = None, np.empty(0, np.uint16)
        if divided.hash_buckets:
            rows = _read(tables_dir / file.path, divided.domains.columns, codes)
            hash_buckets = _hash_buckets(rows["domain_hash"], divided.hash_buckets)
        of_segment = candidate_files.get(file.segment)
        if of_segment is None:
            return _Part(rows, hash_buckets, None, None, None)
        found = _read(tables_dir / of_segment.path, list(columns), codes)
        by_hash = by_lei = None
        if rows is not None and divided.by_hash.columns:
            # Both files of a segment hold the same domain ids, and domain rows are sorted by id.
            place = np.searchsorted(rows["domain_id"].to_numpy(), found["domain_id"].to_numpy())
            by_hash = hash_buckets[place]
        if divided.lei_buckets:
            by_lei = _lei_buckets(found["lei_code"], bounds)
        return _Part(rows, hash_buckets, found, by_hash, by_lei)

    with prefetch(partial(read, file) for file in domains.files) as parts:
        for part in parts:
            if part.domains is not None:
                divided.domains.append(part.domains, part.hash_buckets)
            if part.candidates is not None and part.by_hash is not None:
                divided.by_hash.append(part.candidates, part.by_hash)
            if part.candidates is not None and part.by_lei is not None:
                divided.by_lei.append(part.candidates, part.by_lei)
            del part  # else it stays until the next one is there
    return divided


@dataclass(frozen=True)
class _Part:
    """Rows of one segment, and the buckets that each belongs to."""

    domains: pa.Table | None
    hash_buckets: "NDArray[np.uint16]"
    candidates: pa.Table | None
    by_hash: "NDArray[np.uint16] | None"
    by_lei: "NDArray[np.uint16] | None"


def _bucket_count(rows: int, bucket_rows: int) -> int:
    return min(_MAX_BUCKETS, max(1, math.ceil(rows / bucket_rows)))


def _dtypes(schema: type[dy.Schema], names: Collection[str]) -> dict[str, pl.DataType]:
    return {name: column.dtype for name, column in schema.columns().items() if name in names}


def _read(path: Path, columns: Sequence[str], codes: Mapping[str, TextCodes]) -> pa.Table:
    """Columns of a file, texts of few values as codes."""
    coded = [name for name in columns if name in codes and not codes[name].is_full]
    with pq.ParquetFile(path, read_dictionary=coded) as file:
        rows = file.read(columns=list(columns))
    for name in coded:
        place = rows.schema.get_field_index(name)
        rows = rows.set_column(place, name, codes[name].encode(rows[name]))
    return rows


def _hash_buckets(hashes: pa.ChunkedArray, count: int) -> "NDArray[np.uint16]":
    """Buckets of equal width by the first hex digits: md5 spreads evenly."""
    prefix = pl.Series(hashes.combine_chunks()).str.slice(0, _HEX_DIGITS).str.to_integer(base=16, dtype=pl.UInt32)
    return ((prefix.to_numpy() * np.uint32(count)) >> np.uint32(4 * _HEX_DIGITS)).astype(np.uint16)


def _lei_bounds(files: Sequence[Path], count: int) -> pl.Series:
    """Lowest LEIs of all buckets but the first: quantiles of a sample, because issuers' prefixes are not even."""
    if count <= 1:
        return pl.Series([], dtype=pl.String)
    samples = []
    for path in files:
        with pq.ParquetFile(path) as file:
            if file.num_row_groups:
                group = file.read_row_group(file.num_row_groups // 2, columns=["lei_code"])
                samples.append(pl.Series(group["lei_code"].combine_chunks(), dtype=pl.String))
    sample = pl.concat(samples).gather_every(max(1, sum(map(len, samples)) // _SAMPLED_LEIS)).sort()
    return sample.gather([len(sample) * bucket // count for bucket in range(1, count)])


def _lei_buckets(codes: pa.ChunkedArray, bounds: pl.Series) -> "NDArray[np.uint16]":
    found = pl.Series(codes.combine_chunks(), dtype=pl.String)
    if bounds.is_empty():
        return np.zeros(len(found), np.uint16)
    return bounds.search_sorted(found, side="right").to_numpy().astype(np.uint16)
