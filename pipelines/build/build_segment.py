"""The second stage of a run: the staged rows of one segment into the segment's files of the published tables.

What the derived tables need of the rows is written too, in pieces by key range (key_ranges.py).
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import polars as pl

from pipelines.build.key_ranges import SCHEMAS, KeyRanges, write_key_pieces
from pipelines.build.rules import BY_HASH, BY_LEI, DOMAINS
from pipelines.build.staging import StagingFolder, damaged
from pipelines.build.table_build import TablePart, timed, write_part
from pipelines.checks.content import CandidateChecks, DomainChecks
from pipelines.contracts import source
from pipelines.contracts.source import SourceTable
from pipelines.contracts.tables import DOMAIN_EXPORTS, REJECTED_ROWS, candidate_exports
from pipelines.transform.candidate_exports import build_candidate_exports
from pipelines.transform.domain_exports import build_domain_exports
from pipelines.transform.validation import build_rejected_rows, validate_candidates, validate_domains


@dataclass(frozen=True)
class SegmentTask:
    """A segment to build.

    Attributes:
        pieces: Of each source table, where its rows are (pieces.INDEX).
        ranges: How the keys are cut; None: no pieces by key are written.
    """

    staging: StagingFolder
    segment: int | None
    include_full_data: bool
    pieces: Mapping[str, pl.DataFrame]
    names: frozenset[str]
    ranges: KeyRanges | None


@dataclass(frozen=True)
class SegmentFacts:
    """What came of it.

    Attributes:
        source_rows: Rows of both source tables.
        parts: By table, what was written.
        pieces: Index of the pieces by key range; None: none was asked for.
        validate_s: Seconds of what is done once for all tables: reading and validation.
    """

    segment: int | None
    source_rows: int
    parts: dict[str, TablePart]
    pieces: pl.DataFrame | None
    validate_s: float


def build_segment(task: SegmentTask) -> SegmentFacts:
    """Validate the rows of a segment, compute its tables, check and write them.

    Raises:
        StagingError: A staged file is damaged.
        PublishError: A file can't be written.
    """
    started, timings = time.monotonic(), dict[str, float]()
    folder, table = task.staging.tables_dir, candidate_exports(include_full_data=task.include_full_data)
    # Rows are not kept here beside what is made of them: a copy of a segment's candidates is 60 MB.
    validated_domains = validate_domains(_read(task, source.DOMAINS))
    validated_candidates = validate_candidates(_read(task, source.GLEIF_CANDIDATES), validated_domains)
    source_rows = validated_domains.height + validated_candidates.height
    candidates = build_candidate_exports(validated_candidates, table)
    parts, pieces = dict[str, TablePart](), None
    if REJECTED_ROWS.name in task.names:
        parts[REJECTED_ROWS.name] = _write_rejected(task, validated_domains, validated_candidates)
    del validated_candidates
    validate_s = time.monotonic() - started
    with timed(timings, "transform"):
        domains = build_domain_exports(validated_domains, candidates)
    validated_domains = validated_domains.select(DomainChecks.VALIDATED_COLUMNS)
    with timed(timings, "divide"):
        if task.ranges is not None:
            pieces = write_key_pieces(task.staging.keys_dir, task.segment, domains, candidates, task.ranges)
    if DOMAIN_EXPORTS.name in task.names:
        of_domains = DomainChecks()
        check = partial(of_domains.update, validated_domains, domains, candidates)
        part = write_part(domains, DOMAIN_EXPORTS, folder, task.segment, check)
        del check
        part.timings |= timings
        part.content = of_domains.state()
        parts[DOMAIN_EXPORTS.name] = part
    del validated_domains, domains
    if table.name in task.names:
        of_candidates = CandidateChecks()
        part = write_part(candidates, table, folder, task.segment, partial(of_candidates.update, candidates))
        part.content = of_candidates.state()
        parts[table.name] = part
    return SegmentFacts(task.segment, source_rows, parts, pieces, validate_s)


@dataclass(frozen=True)
class DivideTask:
    """A segment whose tables are built, to be divided by keys.

    Attributes:
        domains: Its file of domain_exports, relative to the folder of tables.
        candidates: Its file of candidate_exports; None: it has none.
    """

    staging: StagingFolder
    segment: int | None
    domains: str
    candidates: str | None
    ranges: KeyRanges


def divide_segment(task: DivideTask) -> pl.DataFrame:
    """Write the pieces by key range of a segment that an earlier run built.

    Returns:
        Their index (pieces.INDEX).

    Raises:
        StagingError: A Parquet file can't be read.
        PublishError: A file can't be written.
    """
    domains = _columns(task, task.domains, SCHEMAS[DOMAINS])
    candidates = _columns(task, task.candidates, {**SCHEMAS[BY_HASH], **SCHEMAS[BY_LEI]})
    return write_key_pieces(task.staging.keys_dir, task.segment, domains, candidates, task.ranges)


def _columns(task: DivideTask, file: str | None, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    if file is None:
        return pl.DataFrame(schema=dict(schema))
    path = task.staging.tables_dir / file
    try:
        return pl.read_parquet(path, columns=list(schema), glob=False, hive_partitioning=False)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise damaged(task.staging.staging_id, path, type(error).__name__) from None


def _read(task: SegmentTask, table: SourceTable) -> pl.DataFrame:
    return task.staging.read_source(table, task.pieces[table.name], include_full_data=task.include_full_data)


def _write_rejected(
    task: SegmentTask, validated_domains: pl.DataFrame, validated_candidates: pl.DataFrame
) -> TablePart:
    rows = build_rejected_rows(validated_domains, validated_candidates, include_full_data=task.include_full_data)
    return write_part(rows, REJECTED_ROWS, task.staging.tables_dir, task.segment)
