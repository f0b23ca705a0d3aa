"""Checks over several tables: what went in is what came out (DESIGN 4.6)."""

from collections.abc import Mapping

import polars as pl

from pipelines.checks.definitions import COUNTS_AGREE, ROWS_RECONCILE
from pipelines.contracts.records import CheckRecord
from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES


def reconcile_rows(
    source_rows: Mapping[str, int], exported_rows: Mapping[str, int], rejected_rows: pl.LazyFrame
) -> CheckRecord:
    """Compare the rows of each source table with the rows exported and rejected.

    Args:
        source_rows: By source table.
        exported_rows: By published table.
        rejected_rows: The table rejected_rows.
    """
    rejected = dict(rejected_rows.group_by("source_table").len().collect().iter_rows())
    exported = {
        DOMAINS.name: exported_rows["domain_exports"],
        GLEIF_CANDIDATES.name: exported_rows["candidate_exports"],
    }
    found = {
        table: {"source": rows, "exported": exported[table], "rejected": int(rejected.get(table, 0))}
        for table, rows in source_rows.items()
    }
    passed = all(rows["source"] == rows["exported"] + rows["rejected"] for rows in found.values())
    return ROWS_RECONCILE.result(passed=passed, **found)


def compare_counts(domain_exports: pl.LazyFrame, candidate_exports_rows: int) -> CheckRecord:
    """Compare the candidates that domain_exports counts with the rows of candidate_exports."""
    counted = domain_exports.select(pl.col("gleif_candidate_count").cast(pl.Int64).sum()).collect().item()
    return COUNTS_AGREE.result(
        passed=counted == candidate_exports_rows,
        sum_of_gleif_candidate_count=counted,
        candidate_exports_rows=candidate_exports_rows,
    )


def count_rejects(rejected_rows: pl.LazyFrame) -> dict[str, int]:
    """Rejected rows by reason, most frequent first."""
    counts = rejected_rows.group_by("reason").len().sort(["len", "reason"], descending=[True, False]).collect()
    return dict(counts.iter_rows())
