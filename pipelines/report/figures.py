"""The figures behind every chart: small frames, counted from a snapshot's tables by streaming over few columns."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import polars as pl

from pipelines.report.differences import ChangedFiles, RowChanges, compare_rows
from pipelines.report.timeline import STARTS_AT, Timeline, to_timeline
from pipelines.transform.text import is_blank

OTHER = "other"
# The statuses of the contract in the order in which they are shown.
STATUSES = ("success", "failed", "processing", "pending")
STATUS_COUNTS = (*STATUSES, OTHER)
SCORE_STEP = 5
SCORE_MAX = 100
BELOW, ABOVE = -SCORE_STEP, SCORE_MAX  # lower ends of the bins for scores that are out of range
# Counts of batch_summaries that two snapshots are compared by, as people call them.
COMPARED = {
    **{f"{status}_count": status for status in STATUS_COUNTS},
    "with_candidates_count": "with candidates",
    "with_primary_count": "primary chosen",
    "manual_review_count": "to be reviewed",
}


@dataclass(frozen=True)
class DomainFigures:
    """Counts of rows of domain_exports.

    Attributes:
        batches: batch_id, first_created_at, rows and STATUS_COUNTS; newest batch first, undated last.
        timeline: The same counts by period of created_at.
        candidates: gleif_candidate_count, rows; ascending.
        scores: score (lower end of a bin of SCORE_STEP points; the last one holds SCORE_MAX too; BELOW and ABOVE;
            NULL), rows; ascending, NULL first.
    """

    batches: pl.DataFrame
    timeline: Timeline
    candidates: pl.DataFrame
    scores: pl.DataFrame

    @property
    def rows(self) -> int:
        """All rows."""
        return int(self.batches["rows"].sum())


@dataclass(frozen=True)
class PrimaryFigures:
    """Rows of domain_exports by their primary LEI, each row in one of these.

    Attributes:
        valid: primary_lei_code is the code of a candidate of the row, and a valid LEI.
        other: It is not blank, but no valid candidate of the row has it.
        unchosen: It is blank, and the row has candidates.
        without_candidates: It is blank, and the row has none.
    """

    valid: int
    other: int
    unchosen: int
    without_candidates: int


@dataclass(frozen=True)
class BatchChanges:
    """What changed between two snapshots, by their batch_summaries.

    Attributes:
        new: Batches that were not there before.
        gone: Batches that are not there any more.
        changed: Batches of which any count or average differs.
        same: All others.
        counts: domain rows, before, now; a row for each of COMPARED.
    """

    new: int
    gone: int
    changed: int
    same: int
    counts: pl.DataFrame


@dataclass(frozen=True)
class Figures:
    """All figures; None where the tables that they are counted from were not given.

    Attributes:
        domains: Of domain_exports.
        primaries: Of domain_exports and candidate_exports.
        candidates: Rows of candidate_exports by jurisdiction, entity_status, registration_status; most rows first.
        rejects: Rows of rejected_rows by reason and source_table; most rows first.
        changes: Of batch_summaries, since the snapshot before.
        rows: Of all tables, since the snapshot before.
    """

    domains: DomainFigures | None
    primaries: PrimaryFigures | None
    candidates: pl.DataFrame | None
    rejects: pl.DataFrame | None
    changes: BatchChanges | None = None
    rows: RowChanges | None = None


def measure_tables(tables: Mapping[str, pl.LazyFrame]) -> Figures:
    """Count what the charts show; what changed is not in it.

    Args:
        tables: By name, those of domain_exports, candidate_exports and rejected_rows that there are.
    """
    domains, candidates, rejects = (
        tables.get(name) for name in ("domain_exports", "candidate_exports", "rejected_rows")
    )
    plans: dict[str, pl.LazyFrame] = {}
    if domains is not None:
        plans |= _of_domains(domains)
    if domains is not None and candidates is not None:
        plans["valid_primaries"] = _valid_primaries(domains, candidates)
    if candidates is not None:
        plans["kinds"] = _count_by(candidates, "jurisdiction", "entity_status", "registration_status")
    if rejects is not None:
        plans["rejects"] = _count_by(rejects, "reason", "source_table")
    frames = dict(zip(plans, pl.collect_all(list(plans.values()), engine="streaming"), strict=True))
    primaries = None
    if "valid_primaries" in frames:
        valid = int(frames["valid_primaries"].item())
        chosen, unchosen, without = (int(count) for count in frames["choices"].row(0))
        primaries = PrimaryFigures(valid, chosen - valid, unchosen, without)
    return Figures(
        domains=None if domains is None else _domain_figures(frames),
        primaries=primaries,
        candidates=frames.get("kinds"),
        rejects=frames.get("rejects"),
    )


def compare_figures(
    figures: Figures,
    now: pl.LazyFrame | None,
    before: pl.LazyFrame | None,
    changed: Mapping[str, ChangedFiles] | None,
) -> Figures:
    """Add what changed since the snapshot before.

    Args:
        now: batch_summaries; None where it is not there.
        before: The same of the snapshot before; None where there is none.
        changed: What differs from the snapshot before, by table; None where there is none.
    """
    changes = None if before is None or now is None else _compare(now, before)
    return replace(figures, changes=changes, rows=None if changed is None else compare_rows(changed))


def _compare(now: pl.LazyFrame, before: pl.LazyFrame) -> BatchChanges:
    """Compare by columns that both have: either may be of an older contract."""
    after, earlier = now.collect(), before.collect()
    shared = [name for name in after.columns if earlier.schema.get(name) == after.schema[name]]
    after, earlier = after.select(shared), earlier.select(shared)
    known = after.join(earlier, on="batch_id", how="semi").height
    same = after.join(earlier, on=shared, how="semi", nulls_equal=True).height
    counts = [
        (label, int(earlier[name].sum()), int(after[name].sum())) for name, label in COMPARED.items() if name in shared
    ]
    schema = {"domain rows": pl.String, "before": pl.Int64, "now": pl.Int64}
    return BatchChanges(
        new=after.height - known,
        gone=earlier.height - known,
        changed=known - same,
        same=same,
        counts=pl.DataFrame(counts, schema, orient="row"),
    )


def _domain_figures(frames: Mapping[str, pl.DataFrame]) -> DomainFigures:
    return DomainFigures(
        batches=_with_other(frames["batches"]),
        timeline=to_timeline(_with_other(frames["hours"]), ["rows", *STATUS_COUNTS]),
        candidates=frames["candidate_counts"],
        scores=frames["scores"],
    )


def _of_domains(domains: pl.LazyFrame) -> dict[str, pl.LazyFrame]:
    rows = pl.len().cast(pl.Int64).alias("rows")
    counts = [rows, *((pl.col("status") == status).sum().cast(pl.Int64).alias(status) for status in STATUSES)]
    score = pl.col("confidence_score").cast(pl.Float64).fill_nan(None)
    low = ((score / SCORE_STEP).floor() * SCORE_STEP).clip(0, SCORE_MAX - SCORE_STEP)
    bins = pl.when(score < 0).then(BELOW).when(score > SCORE_MAX).then(ABOVE).otherwise(low).cast(pl.Int64)
    is_unchosen = is_blank(pl.col("primary_lei_code")).fill_null(value=True)
    has_candidates = pl.col("gleif_candidate_count") > 0
    return {
        "batches": domains.group_by("batch_id")
        .agg(pl.col("created_at").min().alias("first_created_at"), *counts)
        .sort(["first_created_at", "batch_id"], descending=True, nulls_last=True),
        "hours": domains.group_by(pl.col("created_at").dt.truncate("1h").alias(STARTS_AT)).agg(counts),
        "candidate_counts": domains.group_by("gleif_candidate_count").agg(rows).sort("gleif_candidate_count"),
        "scores": domains.group_by(bins.alias("score")).agg(rows).sort("score"),
        "choices": domains.select(
            (~is_unchosen).sum().alias("chosen"),
            (is_unchosen & has_candidates).sum().alias("unchosen"),
            (is_unchosen & ~has_candidates).sum().alias("without_candidates"),
        ),
    }


def _valid_primaries(domains: pl.LazyFrame, candidates: pl.LazyFrame) -> pl.LazyFrame:
    """Domain rows whose primary LEI is a valid candidate. Joined by a 64-bit hash: a third of the memory of texts."""
    key = pl.struct("domain_id", "lei_code").hash().alias("key")
    chosen = domains.filter(~is_blank(pl.col("primary_lei_code"))).select("domain_id", lei_code="primary_lei_code")
    valid = candidates.filter(pl.col("is_valid_lei"))
    return valid.select(key).join(chosen.select(key), on="key", how="semi").select(pl.len())


def _count_by(table: pl.LazyFrame, *columns: str) -> pl.LazyFrame:
    """Rows by values; a blank one counts as none."""
    values = (pl.when(~is_blank(pl.col(name))).then(pl.col(name)).alias(name) for name in columns)
    counts = table.group_by(values).agg(pl.len().cast(pl.Int64).alias("rows"))
    return counts.sort(["rows", *columns], descending=[True, *(False for _ in columns)], nulls_last=True)


def _with_other(counts: pl.DataFrame) -> pl.DataFrame:
    known = pl.sum_horizontal(STATUSES)
    return counts.with_columns((pl.col("rows") - known).alias(OTHER))
