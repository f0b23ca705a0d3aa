"""Checks of a table's numbers while it is built, frame after frame: the contract's rules, and sums that have to agree.

The rules themselves are the contract's: dataframely counts the rows that break each.
"""

from collections import Counter
from collections.abc import Mapping

import polars as pl

from pipelines.checks.definitions import (
    COUNTS_AGREE,
    ROWS_RECONCILE,
    SUMMED_COUNTS,
    adds_up,
    general_checks,
    summed_counts,
)
from pipelines.contracts.records import CheckRecord
from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES
from pipelines.contracts.tables import Table

_KEY_RULE = "primary_key"
_NULL_RULE = "nullability"


class TableChecks:
    """The running result of the checks that every table has.

    A key is unique over all frames when it is within each, because frames are ranges of one key column; where they are
    not (rejected_rows), the source's unique ids say so.

    Attributes:
        rows: Rows that were checked.
        broken: How many of them break each rule of dataframely.
        difference: How the columns differ from the contract; "": they do not.
        sums: Sums of its `summed_counts`.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self.rows = 0
        self.broken: Counter[str] = Counter()
        self.difference = ""
        self.sums: Counter[str] = Counter()

    def update(self, frame: pl.DataFrame) -> None:
        """Check one frame of the table and add to the result."""
        self.rows += frame.height
        if frame.schema != self._table.polars_schema:
            self.difference = self.difference or _difference(self._table.polars_schema, frame.schema)
            return
        if not self._table.schema.is_valid(frame):  # counting makes a copy of the rows, and is rarely needed
            _, failure = self._table.schema.filter(frame)
            self.broken.update(failure.counts())
        self.add_sums(frame)

    def add_sums(self, rows: pl.DataFrame) -> None:
        """Add the sums of the counts of some rows, of which no other column is needed."""
        self.sums.update({name: int(rows[name].cast(pl.Int64).sum()) for name in summed_counts(self._table)})

    def add(self, other: "TableChecks") -> None:
        """Add what was found in other frames of the table."""
        self.rows += other.rows
        self.broken.update(other.broken)
        self.difference = self.difference or other.difference
        self.sums.update(other.sums)

    def results(self) -> list[CheckRecord]:
        """One record a check, in the order of the definitions."""
        shape, required, key, values = general_checks(self._table)
        rows, repeated = self.rows, self.broken.get(_KEY_RULE, 0)
        nulls = {rule.split("|")[0]: n for rule, n in self.broken.items() if rule.endswith(f"|{_NULL_RULE}")}
        others = {
            rule: n for rule, n in self.broken.items() if rule != _KEY_RULE and not rule.endswith(f"|{_NULL_RULE}")
        }
        return [
            shape.result(
                passed=not self.difference,
                columns=len(self._table.columns),
                difference=self.difference or "none",
            ),
            required.result(passed=not nulls, rows_checked=rows, nulls_by_column=nulls),
            key.result(passed=not repeated, rows_checked=rows, rows_with_repeated_key=repeated),
            values.result(passed=not others, rows_checked=rows, rows_by_broken_rule=others),
        ]

    def sum_results(self, source_rows: Mapping[str, int]) -> list[CheckRecord]:
        """One record a count.

        Args:
            source_rows: Rows of the tables that it was computed from.
        """
        results = []
        for name in summed_counts(self._table):
            source, found = SUMMED_COUNTS[name], self.sums[name]
            metadata = {f"sum_of_{name}": found, f"{source}_rows": source_rows[source]}
            results.append(adds_up(self._table, name).result(passed=found == source_rows[source], **metadata))
        return results


def _difference(expected: pl.Schema, found: pl.Schema) -> str:
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    retyped = [f"{n}: {found[n]} instead of {expected[n]}" for n in expected if n in found and found[n] != expected[n]]
    parts = {"missing": missing, "extra": extra, "other type": retyped}
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names) or "other order"


def reconcile_rows(
    source_rows: Mapping[str, int], accepted_rows: Mapping[str, int], rejected_rows: pl.LazyFrame
) -> CheckRecord:
    """Compare the rows of each source table with the rows exported and rejected.

    Args:
        source_rows: By source table.
        accepted_rows: By published table.
        rejected_rows: The table rejected_rows.
    """
    rejected = dict(rejected_rows.group_by("source_table").len().collect().iter_rows())
    accepted = {
        DOMAINS.name: accepted_rows["domain_exports"],
        GLEIF_CANDIDATES.name: accepted_rows["candidate_exports"],
    }
    found = {
        table: {"source": rows, "exported": accepted[table], "rejected": int(rejected.get(table, 0))}
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
