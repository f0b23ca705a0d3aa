"""Evaluates the checks of a table while it is built, one frame (segment) after the other, in one pass.

The rules themselves are the contract's: dataframely counts the rows that break each.
"""

from collections import Counter

import polars as pl

from pipelines.checks.definitions import columns_match, key_unique, required_present, values_conform
from pipelines.contracts.records import CheckRecord
from pipelines.contracts.tables import Table

_KEY_RULE = "primary_key"
_NULL_RULE = "nullability"


class TableChecks:
    """The running result of the checks that every table has.

    A key is unique over all frames when it is within each, because frames are segments of one key column; where they
    are not (rejected_rows), the source's unique ids say so.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._rows = 0
        self._broken: Counter[str] = Counter()
        self._shape: str = ""

    @property
    def rows(self) -> int:
        """Rows that were checked."""
        return self._rows

    def update(self, frame: pl.DataFrame) -> None:
        """Check one frame of the table and add to the result."""
        self._rows += frame.height
        if frame.schema != self._table.polars_schema:
            self._shape = self._shape or _difference(self._table.polars_schema, frame.schema)
            return
        if not self._table.schema.is_valid(frame):  # counting makes a copy of the rows, and is rarely needed
            _, failure = self._table.schema.filter(frame)
            self._broken.update(failure.counts())

    def results(self) -> list[CheckRecord]:
        """One record a check, in the order of the definitions."""
        nulls = {rule.split("|")[0]: n for rule, n in self._broken.items() if rule.endswith(f"|{_NULL_RULE}")}
        repeated = self._broken.get(_KEY_RULE, 0)
        rows = self._rows
        others = {
            rule: n for rule, n in self._broken.items() if rule != _KEY_RULE and not rule.endswith(f"|{_NULL_RULE}")
        }
        return [
            columns_match(self._table).result(
                passed=not self._shape, columns=len(self._table.columns), difference=self._shape or "none"
            ),
            required_present(self._table).result(passed=not nulls, rows_checked=rows, nulls_by_column=nulls),
            key_unique(self._table).result(passed=not repeated, rows_checked=rows, rows_with_repeated_key=repeated),
            values_conform(self._table).result(passed=not others, rows_checked=rows, rows_by_broken_rule=others),
        ]


def _difference(expected: pl.Schema, found: pl.Schema) -> str:
    missing = [name for name in expected if name not in found]
    extra = [name for name in found if name not in expected]
    retyped = [f"{n}: {found[n]} instead of {expected[n]}" for n in expected if n in found and found[n] != expected[n]]
    parts = {"missing": missing, "extra": extra, "other type": retyped}
    return "; ".join(f"{what} {', '.join(names)}" for what, names in parts.items() if names) or "other order"
