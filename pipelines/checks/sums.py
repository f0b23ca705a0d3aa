"""Checks that the counts of a derived table add up to the rows that it was computed from."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import polars as pl

from pipelines.checks.definitions import SUMMED_COUNTS, adds_up
from pipelines.contracts.records import CheckRecord
from pipelines.contracts.tables import Table


class SumChecks:
    """The running sums of a table's counts."""

    def __init__(self, table: Table, rows: Mapping[str, int]) -> None:
        """Begin with nothing.

        Args:
            table: The table whose counts are added.
            rows: Rows of the tables that it was computed from.
        """
        self._table = table
        self._rows = rows
        self._sums: Counter[str] = Counter()
        self._counts = {name: source for name, source in SUMMED_COUNTS.items() if name in table.columns}

    @property
    def columns(self) -> list[str]:
        """Names of the counts."""
        return list(self._counts)

    def update(self, frame: pl.DataFrame) -> None:
        """Add the counts of some rows, of which only `columns` are looked at."""
        for name in self._counts:
            self._sums[name] += int(frame[name].cast(pl.Int64).sum())

    def results(self) -> list[CheckRecord]:
        """One record a count."""
        return [
            adds_up(self._table, name).result(
                passed=self._sums[name] == self._rows[source],
                **{f"sum_of_{name}": self._sums[name], f"{source}_rows": self._rows[source]},
            )
            for name, source in self._counts.items()
        ]

    def findings(self) -> dict[str, dict[str, Any]]:
        """Nothing: the tables with sums are always computed as a whole."""
        return {}
