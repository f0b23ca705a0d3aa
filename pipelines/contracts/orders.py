"""Which row comes first: rank order, the best row of a domain, the latest row of an LEI (DESIGN 4.1, 4.3, 4.4).

The one place for these rules. The SQL is for DuckDB; the frames are sorted by the same names in transform/ordering.py.
"""

# Rank order of the candidates of a domain row: both ascending, NULL last. A staged row has the id as `id`.
RANK_ORDER = ("rank_position", "candidate_id")
RANK_ORDER_SQL = ", ".join(f"{name} ASC NULLS LAST" for name in RANK_ORDER)
RANK_ORDER_TEXT = f"{RANK_ORDER[0]} ascending, NULL last, then {RANK_ORDER[1]}"


def rank_key(rank_position: int | None, candidate_id: int) -> tuple[bool, int, int]:
    """What Python sorts by to get rank order."""
    return rank_position is None, rank_position or 0, candidate_id


# What unique_domains has of a domain's best row.
BEST_ROW = (
    "status",
    "company_name",
    "confidence_score",
    "guessed_country",
    "primary_lei_code",
    "primary_gleif_name",
    "final_legal_name",
    "final_confidence",
)
BEST_ROW_TEXT = (
    "success first, then confidence (final_confidence, else confidence_score), latest processed_at, highest id"
)
# The first of these that is not NULL is a row's confidence.
CONFIDENCE = ("final_confidence", "confidence_score")
# Whether status is SUCCESS, confidence, then these; all descending, NULL last.
SUCCESS = "success"
BEST_ROW_TIES = ("processed_at", "domain_id")

# What entities has of an LEI's latest row, and unique_domains some of it.
LATEST_ROW = ("legal_name", "jurisdiction", "entity_status", "registration_status", "legal_form", "entity_category")
# The latest row is the last one in this order: both ascending, NULL first (a row without a time is the oldest).
LATEST_LAST = ("created_at", "candidate_id")
