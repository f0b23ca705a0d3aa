"""What exports.duckdb has beside the tables, and Parquet does not: views, and one row of what the file is.

The views are joins that an analyst would else write each time (docs/analysts.md uses them).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self

from pipelines.contracts.orders import LATEST_ROW, RANK_ORDER_SQL
from pipelines.contracts.records import Manifest
from pipelines.contracts.tables import DOMAIN_EXPORTS, UNIQUE_DOMAINS, Table, candidate_exports

CLOSE_POINTS = 5
# A character that JavaScript's trim leaves: a text that holds one is not blank (DESIGN 4).
_NOT_BLANK = r"[^\x{9}-\x{d}\x{20}\x{a0}\x{1680}\x{2000}-\x{200a}\x{2028}\x{2029}\x{202f}\x{205f}\x{3000}\x{feff}]"


@dataclass(frozen=True)
class ViewColumn:
    """A column of a view: its expression in the view's query, its DuckDB type, its description."""

    expression: str
    kind: str
    description: str


@dataclass(frozen=True)
class View:
    """A view of exports.duckdb.

    Attributes:
        name: Its name, of no table.
        grain: What one row is.
        key: Columns that name a row.
        reads: Names of the tables that it reads.
        body: Its query from FROM on.
        prelude: Its query before SELECT.
    """

    name: str
    grain: str
    key: tuple[str, ...]
    columns: dict[str, ViewColumn]
    reads: tuple[str, ...]
    body: str
    prelude: str = ""

    @property
    def description(self) -> str:
        """Description of the view for COMMENT ON VIEW."""
        return f"{self.grain} Key: {', '.join(self.key)}. View of {', '.join(self.reads)}."

    @property
    def query(self) -> str:
        """Its SELECT."""
        columns = ",\n".join(f"    {column.expression} AS {name}" for name, column in self.columns.items())
        return f"{self.prelude}SELECT\n{columns}\n{self.body}"


def _with_lineage(alias: str, table: Table, names: str) -> dict[str, ViewColumn]:
    """Columns as they stand in a table, with their descriptions there."""
    types, descriptions = table.duckdb_types, table.column_descriptions
    return {name: ViewColumn(f"{alias}.{name}", types[name], descriptions[name]) for name in names.split()}


def _of_place(place: str) -> dict[str, ViewColumn]:
    """Columns of review_queue that tell of the first or the second candidate."""
    return {
        f"{place}_lei_code": ViewColumn(
            f"p.{place}_lei_code", "VARCHAR", f"LEI of the {place} candidate in rank order"
        ),
        f"{place}_legal_name": ViewColumn(f"p.{place}_legal_name", "VARCHAR", f"Legal name of the {place} candidate"),
        f"{place}_score": ViewColumn(
            f"p.{place}_score", "FLOAT", f"weighted_score of the {place} candidate (points, 0 to 100)"
        ),
    }


_CANDIDATES = candidate_exports(include_full_data=False)
_DOMAIN_ROW = _with_lineage("d", DOMAIN_EXPORTS, "domain_id domain domain_hash batch_id status company_name")
_RECORD = " ".join(LATEST_ROW)

_FIRST_TWO = f"""\
WITH ranked AS (
    SELECT domain_id, lei_code, legal_name, weighted_score,
        row_number() OVER (PARTITION BY domain_id ORDER BY {RANK_ORDER_SQL}) AS place
    FROM candidate_exports
    QUALIFY place <= 2
), pairs AS (
    SELECT a.domain_id,
        a.lei_code AS first_lei_code, a.legal_name AS first_legal_name, a.weighted_score AS first_score,
        b.lei_code AS second_lei_code, b.legal_name AS second_legal_name, b.weighted_score AS second_score,
        round(abs(CAST(a.weighted_score AS DOUBLE) - CAST(b.weighted_score AS DOUBLE)), 3) AS score_gap
    FROM ranked AS a
    LEFT JOIN ranked AS b ON b.domain_id = a.domain_id AND b.place = 2
    WHERE a.place = 1
)
"""
_AGREEMENT = f"""\
WITH of_domain AS (
    SELECT c.domain_hash, count(DISTINCT c.batch_id) AS batch_count,
        coalesce(list(DISTINCT d.primary_lei_code ORDER BY d.primary_lei_code)
            FILTER (regexp_matches(d.primary_lei_code, '{_NOT_BLANK}')), []) AS primary_lei_codes
    FROM candidate_exports AS c
    JOIN domain_exports AS d ON d.domain_id = c.domain_id
    GROUP BY c.domain_hash
    HAVING count(DISTINCT c.batch_id) > 1
), of_lei AS (
    SELECT domain_hash, lei_code, count(DISTINCT batch_id) AS batch_count
    FROM candidate_exports
    GROUP BY domain_hash, lei_code
), leis AS (
    SELECT o.domain_hash, count(*) AS distinct_lei_count,
        count(*) FILTER (o.batch_count = t.batch_count) AS shared_lei_count,
        list(o.lei_code ORDER BY o.lei_code) FILTER (o.batch_count < t.batch_count) AS differing_lei_codes
    FROM of_lei AS o
    JOIN of_domain AS t ON t.domain_hash = o.domain_hash
    GROUP BY o.domain_hash
)
"""

DOMAIN_CANDIDATES = View(
    name="domain_candidates",
    grain="One row per candidate, with its domain row beside it.",
    key=("domain_id", "lei_code"),
    columns={
        **_DOMAIN_ROW,
        **_with_lineage("d", DOMAIN_EXPORTS, "primary_lei_code"),
        **_with_lineage("c", _CANDIDATES, f"candidate_id rank_position lei_code {_RECORD} weighted_score match_method"),
        **_with_lineage("c", _CANDIDATES, "is_primary_selection is_valid_lei"),
    },
    reads=("domain_exports", "candidate_exports"),
    body="FROM candidate_exports AS c\nJOIN domain_exports AS d ON d.domain_id = c.domain_id",
)
PRIMARY_CANDIDATES = View(
    name="primary_candidates",
    grain="One row per domain row that has a primary LEI, with the record of that LEI among its candidates.",
    key=("domain_id",),
    columns={
        **_DOMAIN_ROW,
        **_with_lineage("d", DOMAIN_EXPORTS, "primary_lei_code primary_gleif_name primary_selection_confidence"),
        "is_candidate": ViewColumn(
            "c.lei_code IS NOT NULL",
            "BOOLEAN",
            "Whether primary_lei_code is among the candidates of the row; where not, the columns behind are NULL",
        ),
        **_with_lineage("c", _CANDIDATES, f"candidate_id rank_position {_RECORD} weighted_score is_valid_lei"),
    },
    reads=("domain_exports", "candidate_exports"),
    body=(
        "FROM domain_exports AS d\n"
        "LEFT JOIN candidate_exports AS c ON c.domain_id = d.domain_id AND c.lei_code = d.primary_lei_code\n"
        f"WHERE regexp_matches(d.primary_lei_code, '{_NOT_BLANK}')"
    ),
)
REVIEW_QUEUE = View(
    name="review_queue",
    grain=(
        "One row per domain row that a person should look at: manual_review_required, or the scores of its first two"
        f" candidates are less than {CLOSE_POINTS} points apart."
    ),
    key=("domain_id",),
    columns={
        **_DOMAIN_ROW,
        **_with_lineage("d", DOMAIN_EXPORTS, "primary_lei_code manual_review_required selection_notes"),
        "has_close_scores": ViewColumn(
            f"coalesce(p.score_gap < {CLOSE_POINTS}, false)",
            "BOOLEAN",
            f"Whether the scores of the first two candidates are less than {CLOSE_POINTS} points apart",
        ),
        "score_gap": ViewColumn(
            "p.score_gap",
            "DOUBLE",
            "How far the scores of the first two candidates are apart, to three decimals;"
            " NULL where there are no two scores (points)",
        ),
        **_of_place("first"),
        **_of_place("second"),
    },
    reads=("domain_exports", "candidate_exports"),
    prelude=_FIRST_TWO,
    body=(
        "FROM domain_exports AS d\n"
        "LEFT JOIN pairs AS p ON p.domain_id = d.domain_id\n"
        f"WHERE d.manual_review_required OR p.score_gap < {CLOSE_POINTS}"
    ),
)
DISAGREEING_DOMAINS = View(
    name="disagreeing_domains",
    grain="One row per domain that has candidates in several batches, but not the same LEIs in all of them.",
    key=("domain_hash",),
    columns={
        **_with_lineage("u", UNIQUE_DOMAINS, "domain_hash domain best_domain_id best_batch_id primary_lei_code"),
        "batch_count": ViewColumn("b.batch_count", "BIGINT", "Batches in which the domain has candidates"),
        "distinct_lei_count": ViewColumn("l.distinct_lei_count", "BIGINT", "Distinct LEIs over these batches"),
        "shared_lei_count": ViewColumn(
            "l.shared_lei_count", "BIGINT", "Of them, LEIs that every one of the batches has"
        ),
        "differing_lei_codes": ViewColumn(
            "l.differing_lei_codes", "VARCHAR[]", "LEIs that at least one of the batches lacks, sorted"
        ),
        "primary_lei_codes": ViewColumn(
            "b.primary_lei_codes",
            "VARCHAR[]",
            "Distinct primary LEIs of its rows with candidates, sorted; more than one: they disagree on that too",
        ),
    },
    reads=("candidate_exports", "domain_exports", "unique_domains"),
    prelude=_AGREEMENT,
    body=(
        "FROM leis AS l\n"
        "JOIN of_domain AS b ON b.domain_hash = l.domain_hash\n"
        "JOIN unique_domains AS u ON u.domain_hash = l.domain_hash\n"
        "WHERE l.shared_lei_count < l.distinct_lei_count"
    ),
)
VIEWS = (DOMAIN_CANDIDATES, PRIMARY_CANDIDATES, REVIEW_QUEUE, DISAGREEING_DOMAINS)


def views_of(tables: Iterable[Table]) -> tuple[View, ...]:
    """The views that a database of these tables has: those whose tables are all there."""
    names = {table.name for table in tables}
    return tuple(view for view in VIEWS if names.issuperset(view.reads))


SNAPSHOT_INFO = "snapshot_info"
INFO_DESCRIPTION = "One row: the snapshot that this file is of, with the values of its manifest.json."


class InfoColumn(NamedTuple):
    """A column: its DuckDB type and what it is."""

    kind: str
    description: str


# In the order of the attributes of SnapshotInfo. None is ever NULL.
INFO_COLUMNS = {
    "snapshot_id": InfoColumn("VARCHAR", "Id of the snapshot, the name of its folder"),
    "sequence": InfoColumn("BIGINT", "Its number: larger than that of every snapshot before it, whatever a clock says"),
    "source": InfoColumn("VARCHAR", "Identity of the database that was read, `sample` for the built-in one"),
    "instant": InfoColumn("TIMESTAMP", "The instant of that database that all tables show (UTC)"),
    "contract_version": InfoColumn("VARCHAR", "Version of the contract that tables and views keep"),
    "published_at": InfoColumn("TIMESTAMP", "When the snapshot was built, right before it was published (UTC)"),
}


@dataclass(frozen=True)
class SnapshotInfo:
    """The row. Times are UTC, with their zone."""

    snapshot_id: str
    sequence: int
    source: str
    instant: datetime
    contract_version: str
    published_at: datetime

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """What the file of a snapshot must say."""
        return cls(
            snapshot_id=manifest.id,
            sequence=manifest.sequence,
            source=manifest.source.identity,
            instant=manifest.source.snapshot_at,
            contract_version=manifest.contract_version,
            published_at=manifest.created_at,
        )

    @property
    def values(self) -> tuple[str, ...]:
        """Its values as text, in the order of INFO_COLUMNS."""
        return tuple(_text(getattr(self, name)) for name in INFO_COLUMNS)


def _text(value: str | int | datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if isinstance(value, datetime) else str(value)
