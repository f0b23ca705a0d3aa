"""Every check by name: what it says and whether it blocks the switch (DESIGN 3.7)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.contracts.records import CheckRecord
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import DERIVED_TABLES, DOMAIN_EXPORTS, Table, candidate_exports
from pipelines.contracts.vocabularies import KNOWN_VALUES

SNAPSHOT = "snapshot"
SHRINK_CHECK = "source_not_shrunk"


@dataclass(frozen=True)
class CheckDefinition:
    """A check.

    Attributes:
        table: Table, source table or `snapshot` that it is about.
        name: Its name, unique within the table.
        description: The property that holds when it passes.
        severity: `error` blocks the switch, `warn` does not.
        rows_query: SQL for exports.duckdb that shows the rows for which it does not hold, in one line, to be pasted
            between double quotes into a shell; `{ids}` stands for the ids that the result names. "": there is none.
    """

    table: str
    name: str
    description: str
    severity: Literal["error", "warn"]
    rows_query: str = ""

    def result(self, *, passed: bool, **metadata: Any) -> CheckRecord:  # noqa: ANN401  counts, ids and texts
        """The outcome of this check."""
        return CheckRecord(table=self.table, name=self.name, passed=passed, severity=self.severity, metadata=metadata)


def shrink_check(source_table: str) -> CheckDefinition:
    """The check that a source table did not collapse (DESIGN 4)."""
    return CheckDefinition(
        source_table,
        SHRINK_CHECK,
        "The source has at least MIN_ROWS_PCT of the rows that the published snapshot was made from.",
        "error",
    )


def columns_kept_check(source_table: str) -> CheckDefinition:
    """The check that a source table has the known columns that it had."""
    return CheckDefinition(
        source_table,
        "known_columns_kept",
        "No known column that held values in the published snapshot, or in one before it, is gone from the source.",
        "warn",
    )


def general_checks(table: Table) -> tuple[CheckDefinition, CheckDefinition, CheckDefinition, CheckDefinition]:
    """The checks that every table has: of its shape, of NULL, of its key, and of value rules such as a hash's form."""
    matching = "Columns, their order and dtypes are those of the contract."
    return (
        CheckDefinition(table.name, "columns_match", matching, "error"),
        CheckDefinition(table.name, "required_present", f"No NULL in: {', '.join(table.required)}.", "error"),
        CheckDefinition(table.name, "key_unique", f"{', '.join(table.key)} is unique.", "error"),
        CheckDefinition(table.name, "values_conform", "Values keep the rules of the contract.", "error"),
    )


# Counts whose sum over a derived table is the number of rows of the table that it was computed from.
SUMMED_COUNTS = {"result_count": "domain_exports", "candidate_count": "candidate_exports"}


def summed_counts(table: Table) -> list[str]:
    """Names of such counts of a table."""
    return [name for name in SUMMED_COUNTS if name in table.columns]


def adds_up(table: Table, count: str) -> CheckDefinition:
    """The check that a count of a derived table leaves out no row and takes none twice."""
    description = f"The sum of {count} is the number of rows of {SUMMED_COUNTS[count]}."
    return CheckDefinition(table.name, f"{count}_adds_up", description, "error")


SOURCE_HASH_AGREES = CheckDefinition(
    DOMAIN_EXPORTS.name,
    "source_hash_agrees",
    "Where the source has a domain_hash, it is the one that is computed.",
    "warn",
    "SELECT domain_id, domain, domain_hash FROM domain_exports WHERE domain_id IN ({ids})",
)
JOINED_TEXTS_AGREE = CheckDefinition(
    DOMAIN_EXPORTS.name,
    "joined_texts_agree",
    "Count, joined texts and lei_codes of each row are those of its rows in candidate_exports, computed again.",
    "error",
)
LEVEL2_COUNT_AGREES = CheckDefinition(
    DOMAIN_EXPORTS.name,
    "level2_count_agrees",
    "Where the source has level2_candidates_count, it is gleif_candidate_count.",
    "warn",
    "SELECT domain_id, level2_candidates_count, gleif_candidate_count FROM domain_exports"
    " WHERE level2_candidates_count <> gleif_candidate_count",
)
PRIMARY_IS_CANDIDATE = CheckDefinition(
    DOMAIN_EXPORTS.name,
    "primary_is_candidate",
    "A primary_lei_code that is not blank is among the candidates of its row.",
    "warn",
    "SELECT domain_id, domain, primary_lei_code FROM primary_candidates WHERE NOT is_candidate",
)
DOMAIN_CHECKS = (SOURCE_HASH_AGREES, JOINED_TEXTS_AGREE, LEVEL2_COUNT_AGREES, PRIMARY_IS_CANDIDATE)

_CANDIDATES = candidate_exports(include_full_data=False).name
_HAS_LEI_FORMAT = "regexp_full_match(lei_code, '[A-Z0-9]{{18}}[0-9]{{2}}')"
_CODES = f"SELECT candidate_id, domain_id, lei_code FROM {_CANDIDATES}"
LEI_FORMAT = CheckDefinition(
    _CANDIDATES,
    "lei_format",
    "lei_code has the format of an LEI: 18 of A to Z and 0 to 9, then two digits.",
    "warn",
    f"{_CODES} WHERE NOT {_HAS_LEI_FORMAT}",
)
LEI_CHECK_DIGITS = CheckDefinition(
    _CANDIDATES,
    "lei_check_digits",
    "A lei_code that has the format of an LEI has right check digits (ISO 7064 MOD 97-10).",
    "warn",
    f"{_CODES} WHERE NOT is_valid_lei AND {_HAS_LEI_FORMAT}",
)
JURISDICTION_FORMAT = CheckDefinition(
    _CANDIDATES,
    "jurisdiction_format",
    "jurisdiction looks like ISO 3166-1 alpha-2 or ISO 3166-2, such as DE or US-DE.",
    "warn",
    f"SELECT candidate_id, lei_code, jurisdiction FROM {_CANDIDATES}"
    " WHERE NOT regexp_full_match(jurisdiction, '[A-Z]{{2}}(-[A-Z0-9]{{1,3}})?')",
)


def known_values(column: str) -> CheckDefinition:
    """The check that a column of candidate_exports holds values that GLEIF is known to use."""
    known = ", ".join(KNOWN_VALUES[column])
    quoted = ", ".join(f"'{value}'" for value in KNOWN_VALUES[column])
    return CheckDefinition(
        _CANDIDATES,
        f"{column}_known",
        f"{column} is NULL, or one of the texts {known}.",
        "warn",
        f"SELECT candidate_id, lei_code, {column} FROM {_CANDIDATES} WHERE {column} NOT IN ({quoted})",
    )


CANDIDATE_CHECKS = (LEI_FORMAT, LEI_CHECK_DIGITS, *map(known_values, KNOWN_VALUES), JURISDICTION_FORMAT)
ROWS_RECONCILE = CheckDefinition(
    SNAPSHOT, "rows_reconcile", "Rows in PostgreSQL = rows exported + rows rejected, for both tables.", "error"
)
COUNTS_AGREE = CheckDefinition(
    SNAPSHOT, "counts_agree", "The sum of gleif_candidate_count is the number of rows of candidate_exports.", "error"
)
FORMATS_AGREE = CheckDefinition(
    SNAPSHOT, "faces_agree", "DuckDB and Parquet hold the same rows, columns, types and descriptions.", "error"
)

REPORT_DRAWN = CheckDefinition(
    SNAPSHOT, "report_drawn", "report.html of the snapshot was drawn; the data is right without it.", "warn"
)


def formats_check(verified: Sequence[CheckRecord]) -> CheckRecord:
    """FORMATS_AGREE as the sum of what verifying a snapshot found."""
    failed = [f"{check.table}.{check.name}" for check in verified if not check.passed]
    return FORMATS_AGREE.result(passed=not failed, verifications=len(verified), failed=failed)


SNAPSHOT_CHECKS = (ROWS_RECONCILE, COUNTS_AGREE, FORMATS_AGREE, REPORT_DRAWN)

REMOTE = "remote"
OBJECTS_COMPLETE = CheckDefinition(
    REMOTE,
    "objects_complete",
    "Object storage has every object of the snapshot, with the bytes of its manifest.",
    "error",
)
VERSIONS_COMMITTED = CheckDefinition(
    REMOTE,
    "versions_committed",
    "The versions of the Delta tables that current.json names have the files and rows of the manifest.",
    "error",
)
CONTENT_INTACT = CheckDefinition(REMOTE, "content_intact", "Every object has the sha256 of the manifest.", "error")
OLD_SNAPSHOTS_REMOVED = CheckDefinition(
    REMOTE, "old_snapshots_removed", "What PUBLISH_KEEP_SNAPSHOTS and PUBLISH_KEEP_HOURS do not keep is gone.", "warn"
)
REMOTE_CHECKS = (OBJECTS_COMPLETE, VERSIONS_COMMITTED, OLD_SNAPSHOTS_REMOVED)


def source_checks(source_table: str) -> tuple[CheckDefinition, ...]:
    """All checks of a source table."""
    return (shrink_check(source_table), columns_kept_check(source_table))


SOURCE_CHECKS = tuple(check for table in SOURCE_TABLES for check in source_checks(table.name))


def table_checks(table: Table) -> tuple[CheckDefinition, ...]:
    """All checks of a published table."""
    general = general_checks(table)
    content = {DOMAIN_EXPORTS.name: DOMAIN_CHECKS, _CANDIDATES: CANDIDATE_CHECKS}
    if table in DERIVED_TABLES:
        return (*general, *(adds_up(table, count) for count in summed_counts(table)))
    return (*general, *content.get(table.name, ()))
