"""The checks of a snapshot as people read of them: how many there are, and what does not hold in how many rows.

One list for the terminal, `status`, the report and Dagster's pages. What verifying a snapshot found is one check there.
"""

from typing import NamedTuple

from pipelines.checks.definitions import SNAPSHOT_CHECKS, SOURCE_CHECKS, CheckDefinition, formats_check, table_checks
from pipelines.contracts.records import CheckRecord, Manifest
from pipelines.contracts.tables import published_tables

_OF_SNAPSHOT = {check.name for check in (*SNAPSHOT_CHECKS, *SOURCE_CHECKS)}
_BROKEN, _COMPARED = ("rows_that_differ", "rows_with_other_values"), ("rows_compared", "rows_checked", "rows")


class CheckWarning(NamedTuple):
    """A check that did not pass.

    Attributes:
        name: `<table>.<check>`.
        rows: In how many rows it does not hold; None: it is not about rows.
        sentence: What does not hold, in how many of how many rows.
        query: SQL for exports.duckdb that shows these rows; "": there is none.
    """

    name: str
    rows: int | None
    sentence: str
    query: str


def checks_of(manifest: Manifest) -> list[CheckRecord]:
    """All checks of a snapshot: of the source and of the whole first, then those of each table."""
    verified = [check for check in manifest.checks if check.name not in _OF_SNAPSHOT]
    return [
        *(check for check in manifest.checks if check.name in _OF_SNAPSHOT),
        *([formats_check(verified)] if verified else []),
        *(check for table in manifest.tables for check in table.checks),
    ]


def explain_warnings(manifest: Manifest) -> list[CheckWarning]:
    """The checks that did not pass, each in a sentence."""
    return [_explain(check) for check in checks_of(manifest) if not check.passed]


def _explain(check: CheckRecord) -> CheckWarning:
    definition = _definitions().get((check.table, check.name))
    rows, compared = _count(check, _BROKEN), _count(check, _COMPARED)
    where = f"for {check.table}" if rows is None else f"in {rows:,} of {compared or 0:,} rows of {check.table}"
    rule = definition.description if definition else f"{check.name}."
    ids: list[int] = next((value for name, value in check.metadata.items() if name.startswith("first_")), [])
    query = definition.rows_query.format(ids=", ".join(map(str, ids))) if definition else ""
    sentence = f"{check.name} does not hold {where}: {rule[0].lower()}{rule[1:]}"
    if rows is None:
        sentence = f"{sentence.rstrip('.')} ({_decided(check)})."
    elif definition and "{ids}" in definition.rows_query and rows > len(ids):
        sentence += f" The first {len(ids)}:"
    return CheckWarning(f"{check.table}.{check.name}", rows, sentence, query)


def _definitions() -> dict[tuple[str, str], CheckDefinition]:
    tables = published_tables(include_full_data=False)
    every = (*SOURCE_CHECKS, *SNAPSHOT_CHECKS, *(check for table in tables for check in table_checks(table)))
    return {(check.table, check.name): check for check in every}


def _count(check: CheckRecord, names: tuple[str, ...]) -> int | None:
    return next((check.metadata[name] for name in names if isinstance(check.metadata.get(name), int)), None)


def _decided(check: CheckRecord) -> str:
    """What decided a check that is not about rows: its figures and names that are not empty."""
    reported = {name: value for name, value in check.metadata.items() if value not in ([], {}, None, "")}
    shown = {name: ", ".join(map(str, value)) if isinstance(value, list) else value for name, value in reported.items()}
    return "; ".join(f"{name.replace('_', ' ')}: {value}" for name, value in shown.items())
