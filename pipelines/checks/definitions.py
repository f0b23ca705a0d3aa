"""Every check by name: what it says and whether it blocks the switch (STYLE: shape blocks, content warns).

Belongs here: definitions, so that they are visible before the first run. Does not: evaluation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.contracts.records import CheckRecord
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import DOMAIN_EXPORTS, Table

SNAPSHOT = "snapshot"


@dataclass(frozen=True)
class CheckDefinition:
    """A check.

    Attributes:
        table: Table, source table or `snapshot` that it is about.
        name: Its name, unique within the table.
        description: The property that holds when it passes.
        severity: `error` blocks the switch, `warn` does not.
    """

    table: str
    name: str
    description: str
    severity: Literal["error", "warn"]

    def result(self, *, passed: bool, **metadata: Any) -> CheckRecord:  # noqa: ANN401  counts, ids and texts
        """The outcome of this check."""
        return CheckRecord(table=self.table, name=self.name, passed=passed, severity=self.severity, metadata=metadata)


def shrink_check(source_table: str) -> CheckDefinition:
    """The check that a source table did not collapse (DESIGN 4)."""
    return CheckDefinition(
        source_table,
        "source_not_shrunk",
        "The source has at least MIN_ROWS_PCT of the rows that the published snapshot was made from.",
        "error",
    )


def columns_match(table: Table) -> CheckDefinition:
    """The check of a table's shape."""
    return CheckDefinition(
        table.name, "columns_match", "Columns, their order and dtypes are those of the contract.", "error"
    )


def required_present(table: Table) -> CheckDefinition:
    """The check that required columns hold no NULL."""
    return CheckDefinition(table.name, "required_present", f"No NULL in: {', '.join(table.required)}.", "error")


def key_unique(table: Table) -> CheckDefinition:
    """The check of a table's key."""
    return CheckDefinition(table.name, "key_unique", f"{', '.join(table.key)} is unique.", "error")


def values_conform(table: Table) -> CheckDefinition:
    """The check of the value rules of the contract, such as the form of a hash."""
    return CheckDefinition(table.name, "values_conform", "Values keep the rules of the contract.", "error")


SOURCE_HASH_AGREES = CheckDefinition(
    DOMAIN_EXPORTS.name,
    "source_hash_agrees",
    "Where the source has a domain_hash, it is the one that is computed.",
    "warn",
)
ROWS_RECONCILE = CheckDefinition(
    SNAPSHOT, "rows_reconcile", "Rows in PostgreSQL = rows exported + rows rejected, for both tables.", "error"
)
COUNTS_AGREE = CheckDefinition(
    SNAPSHOT, "counts_agree", "The sum of gleif_candidate_count is the number of rows of candidate_exports.", "error"
)
FACES_AGREE = CheckDefinition(
    SNAPSHOT, "faces_agree", "DuckDB and Parquet hold the same rows, columns, types and descriptions.", "error"
)


def faces_check(verified: Sequence[CheckRecord]) -> CheckRecord:
    """FACES_AGREE as the sum of what verifying a snapshot found."""
    failed = [f"{check.table}.{check.name}" for check in verified if not check.passed]
    return FACES_AGREE.result(passed=not failed, verifications=len(verified), failed=failed)


SNAPSHOT_CHECKS = (ROWS_RECONCILE, COUNTS_AGREE, FACES_AGREE)
SOURCE_CHECKS = tuple(shrink_check(table.name) for table in SOURCE_TABLES)


def table_checks(table: Table) -> tuple[CheckDefinition, ...]:
    """All checks of a published table."""
    general = (columns_match(table), required_present(table), key_unique(table), values_conform(table))
    return (*general, SOURCE_HASH_AGREES) if table.name == DOMAIN_EXPORTS.name else general
