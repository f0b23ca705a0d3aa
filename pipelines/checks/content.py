"""Checks of what domain_exports and candidate_exports hold, frame after frame while they are built.

Metadata has counts, ids and vocabulary values only (DESIGN 7).
"""

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipelines.checks.definitions import (
    JOINED_TEXTS_AGREE,
    JURISDICTION_FORMAT,
    LEI_CHECK_DIGITS,
    LEI_FORMAT,
    LEVEL2_COUNT_AGREES,
    PRIMARY_IS_CANDIDATE,
    SOURCE_HASH_AGREES,
    CheckDefinition,
    known_values,
)
from pipelines.contracts.exports import JOINED, SEPARATOR
from pipelines.contracts.records import CheckRecord
from pipelines.contracts.vocabularies import JURISDICTION_PATTERN, KNOWN_VALUES
from pipelines.transform.text import LEI_PATTERN, is_blank

if TYPE_CHECKING:
    from numpy.typing import NDArray

Found = dict[str, Any]
_SHOWN_IDS = 5
_SHOWN_VALUES = 10
# Of a segment and a column: the source may hold another value in each row, and records are kept from run to run.
_KEPT_VALUES, _COUNTED_VALUES = 100, 1_000
# What the other values of a segment count under; no value is shown so.
_OTHERS = ""
# A vocabulary column may hold anything; a value longer than this is no vocabulary value.
_SHOWN_CHARACTERS = 40
# What may be shown of a column of codes (DESIGN 7): something written like one. A name that slipped into it is not.
_LIKE_A_CODE = re.compile(r"[A-Z0-9_-]{1,24}", re.ASCII)


def find_other_joins(domain_exports: pl.DataFrame, candidates: pl.DataFrame) -> pl.Series:
    """Rows whose count, texts or codes are not those of their candidates.

    Arrow joins the values once more, by the counts of the rows; only where anything differs the rows are looked for.

    Args:
        domain_exports: domain_id, gleif_candidate_count, the four texts and lei_codes, sorted by domain_id.
        candidates: domain_id and the four values of all candidates of these rows, sorted by domain_id, then rank order.

    Returns:
        domain_id of the rows that differ.
    """
    if domain_exports.is_empty() or _is_same(domain_exports, candidates):
        return domain_exports["domain_id"].clear()
    joined = candidates.group_by("domain_id").agg(
        pl.len().alias("count"),
        *(pl.col(value).fill_null("").str.join(SEPARATOR).alias(f"{text}_again") for text, value in JOINED.items()),
        pl.col("lei_code").alias("lei_codes_again"),
    )
    empty = pl.lit([], dtype=pl.List(pl.String))
    differs = [pl.col(text).ne_missing(pl.col(f"{text}_again").fill_null("")) for text in JOINED]
    return domain_exports.join(joined, on="domain_id", how="left", maintain_order="left").filter(
        pl.any_horizontal(
            *differs,
            pl.col("gleif_candidate_count").ne_missing(pl.col("count").fill_null(0)),
            pl.col("lei_codes").ne_missing(pl.col("lei_codes_again").fill_null(empty)),
        )
    )["domain_id"]


def _is_same(domain_exports: pl.DataFrame, candidates: pl.DataFrame) -> bool:
    counts = domain_exports["gleif_candidate_count"]
    if counts.null_count() or counts.sum() != candidates.height:
        return False
    owners = np.repeat(domain_exports["domain_id"].to_numpy(), counts.to_numpy())
    if not np.array_equal(owners, candidates["domain_id"].to_numpy()):
        return False
    ends = np.concatenate(([0], np.cumsum(counts.to_numpy(), dtype=np.int64)))
    codes = domain_exports["lei_codes"]
    return (
        codes.list.len().equals(counts)
        and codes.explode(empty_as_null=False).equals(candidates["lei_code"])
        and all(
            _joined(candidates[value], ends).equals(domain_exports[text].rename("")) for text, value in JOINED.items()
        )
    )


def _joined(values: pl.Series, ends: "NDArray[np.int64]") -> pl.Series:
    lists = pa.LargeListArray.from_arrays(ends, values.fill_null("").to_arrow())
    return pl.Series("", pc.binary_join(lists, pa.scalar(SEPARATOR, pa.large_string())), dtype=pl.String)


class _Finding:
    """Rows that break one check: how many of how many, and the ids of the first."""

    def __init__(self, check: CheckDefinition) -> None:
        self._check = check
        self._compared = 0
        self._broken = 0
        self._ids: list[int] = []

    def add(self, compared: int, broken: pl.Series) -> None:
        """Add the ids of the broken rows among those compared."""
        self._compared += compared
        self._broken += broken.len()
        self._ids += broken.head(max(0, _SHOWN_IDS - len(self._ids))).to_list()

    def state(self) -> Found:
        return {"compared": self._compared, "broken": self._broken, "ids": self._ids}

    def add_state(self, state: Found) -> None:
        self._compared += state["compared"]
        self._broken += state["broken"]
        self._ids = [*self._ids, *state["ids"]][:_SHOWN_IDS]

    def result(self, ids: str) -> CheckRecord:
        return self._check.result(
            passed=not self._broken,
            **{"rows_compared": self._compared, "rows_that_differ": self._broken, f"first_{ids}s": self._ids},
        )


def _compare(rows: pl.DataFrame, row_id: str, is_compared: pl.Expr, is_broken: pl.Expr) -> tuple[int, pl.Series]:
    """Number of rows that are compared, ids of those that are broken; no other column of the rows is touched."""
    compared = rows.lazy().filter(is_compared)
    broken = compared.filter(is_broken).select(row_id)
    count, ids = pl.collect_all([compared.select(pl.len()), broken])
    return int(count.item()), ids.to_series()


class DomainChecks:
    """Checks of domain_exports, with the rows that it was built from: of the source rows, VALIDATED_COLUMNS."""

    VALIDATED_COLUMNS = ("id", "reason", "domain_hash", "computed_hash")

    def __init__(self) -> None:
        # In the order of the definitions; by names that published records keep.
        self._findings = {
            "hash": _Finding(SOURCE_HASH_AGREES),
            "joined": _Finding(JOINED_TEXTS_AGREE),
            "level2": _Finding(LEVEL2_COUNT_AGREES),
            "primary": _Finding(PRIMARY_IS_CANDIDATE),
        }

    def update(self, validated_domains: pl.DataFrame, domain_exports: pl.DataFrame, candidates: pl.DataFrame) -> None:
        """Look at one segment.

        Args:
            validated_domains: The source rows with their verdict and computed_hash: VALIDATED_COLUMNS.
            domain_exports: The table's rows.
            candidates: Rows of candidate_exports of the same domain ids, in their order.
        """
        is_hashed = pl.col("reason").is_null() & pl.col("domain_hash").is_not_null()
        self._findings["hash"].add(
            *_compare(validated_domains, "id", is_hashed, pl.col("domain_hash") != pl.col("computed_hash"))
        )
        self._findings["joined"].add(domain_exports.height, find_other_joins(domain_exports, candidates))
        is_counted = pl.col("level2_candidates_count").is_not_null()
        other = pl.col("level2_candidates_count").cast(pl.Int64) != pl.col("gleif_candidate_count").cast(pl.Int64)
        self._findings["level2"].add(*_compare(domain_exports, "domain_id", is_counted, other))
        has_primary = ~is_blank(pl.col("primary_lei_code"))
        absent = ~pl.col("lei_codes").list.contains(pl.col("primary_lei_code"))
        self._findings["primary"].add(*_compare(domain_exports, "domain_id", has_primary, absent))

    def state(self) -> Found:
        """What was found so far, as a record can keep it."""
        return {name: finding.state() for name, finding in self._findings.items()}

    def add_state(self, state: Found) -> None:
        """Add what was found of other rows, in another run perhaps."""
        for name, finding in self._findings.items():
            finding.add_state(state[name])

    def results(self) -> list[CheckRecord]:
        """One record a check, in the order of the definitions."""
        return [finding.result("domain_id") for finding in self._findings.values()]


class CandidateChecks:
    """Checks of candidate_exports."""

    def __init__(self) -> None:
        self._format = _Finding(LEI_FORMAT)
        self._digits = _Finding(LEI_CHECK_DIGITS)
        self._rows = 0
        self._unknown: dict[str, Counter[str]] = {name: Counter() for name in (*KNOWN_VALUES, "jurisdiction")}

    def update(self, candidates: pl.DataFrame) -> None:
        """Look at some rows of the table."""
        self._rows += candidates.height
        invalid = candidates.lazy().filter(~pl.col("is_valid_lei")).select("candidate_id", "lei_code").collect()
        has_format = invalid["lei_code"].str.contains(LEI_PATTERN)
        self._format.add(candidates.height, invalid.filter(~has_format)["candidate_id"])
        with_format = candidates.height - int((~has_format).sum())
        self._digits.add(with_format, invalid.filter(has_format)["candidate_id"])
        for name, known in KNOWN_VALUES.items():
            self._count(name, candidates, pl.col(name).is_in(known))
        self._count("jurisdiction", candidates, pl.col("jurisdiction").str.contains(JURISDICTION_PATTERN))

    def state(self) -> Found:
        """What was found so far, as a record can keep it."""
        return {
            "format": self._format.state(),
            "digits": self._digits.state(),
            "rows": self._rows,
            "unknown": {name: _most_frequent(values, _KEPT_VALUES) for name, values in self._unknown.items()},
        }

    def add_state(self, state: Found) -> None:
        """Add what was found of other rows, in another run perhaps."""
        self._format.add_state(state["format"])
        self._digits.add_state(state["digits"])
        self._rows += state["rows"]
        for name, values in state["unknown"].items():
            self._unknown[name].update(values)
            if len(self._unknown[name]) > _COUNTED_VALUES:
                self._unknown[name] = Counter(_most_frequent(self._unknown[name], _KEPT_VALUES))

    def results(self) -> list[CheckRecord]:
        """One record a check, in the order of the definitions."""
        return [
            self._format.result("candidate_id"),
            self._digits.result("candidate_id"),
            *(self._of_values(known_values(name), self._unknown[name]) for name in KNOWN_VALUES),
            self._of_values(JURISDICTION_FORMAT, self._unknown["jurisdiction"]),
        ]

    def _count(self, name: str, candidates: pl.DataFrame, is_known: pl.Expr) -> None:
        values = candidates.lazy().group_by(name).agg(pl.len().alias("rows")).filter(~is_known).collect()
        for value, rows in values.iter_rows():
            self._unknown[name][_shown(value)] += rows

    def _of_values(self, check: CheckDefinition, unknown: Counter[str]) -> CheckRecord:
        known = {value: rows for value, rows in unknown.items() if value != _OTHERS}
        shown = sorted(known.items(), key=lambda found: (-found[1], found[0]))[:_SHOWN_VALUES]
        return check.result(
            passed=not unknown,
            rows=self._rows,
            rows_with_other_values=unknown.total(),
            other_values=len(known) if len(known) == len(unknown) else f"more than {len(known)}",
            most_frequent=dict(shown),
        )


def _most_frequent(counts: Counter[str], most: int) -> dict[str, int]:
    """The values that count most; the others as one."""
    kept = dict(sorted(counts.items(), key=lambda found: (found[0] == _OTHERS, -found[1], found[0]))[:most])
    others = counts.total() - sum(kept.values())
    return {**kept, _OTHERS: others} if others else kept


def _shown(value: str) -> str:
    """A value as metadata may have it: a code, else only its shape: `A` or `a` for a letter, `9` for a digit."""
    if _LIKE_A_CODE.fullmatch(value):
        return value
    shape = "".join(_shape_of(c) for c in value[:_SHOWN_CHARACTERS])
    return f"like {shape!r}"


def _shape_of(character: str) -> str:
    if character.isalpha():
        return "A" if character.isupper() else "a"
    return "9" if character.isdigit() else character
