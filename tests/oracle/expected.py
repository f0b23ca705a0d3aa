"""DESIGN 4.1 to 4.7 restated by hand: source columns, published columns and dtypes, sort orders.

Never derived from pipelines.contracts: a drift between the two is a finding (test_oracle.py compares them).
"""

import polars as pl

TEXT, INT, REAL, BOOL, TIMESTAMP = "text", "integer", "real", "boolean", "timestamp"

# DESIGN 4.7, in its order.
DOMAINS: dict[str, str] = {
    "id": INT,
    "domain_hash": TEXT,
    "domain": TEXT,
    "status": TEXT,
    "company_name": TEXT,
    "extraction_method": TEXT,
    "confidence_score": REAL,
    "guessed_country": TEXT,
    "retry_count": INT,
    "error_message": TEXT,
    "failure_category": TEXT,
    "technical_details": TEXT,
    "extraction_attempts": TEXT,
    "recommendation": TEXT,
    "batch_id": TEXT,
    "created_at": TIMESTAMP,
    "processed_at": TIMESTAMP,
    "processing_started_at": TIMESTAMP,
    "processing_time_ms": INT,
    "predicted_entity_category": TEXT,
    "entity_category_confidence": INT,
    "entity_category_indicators": TEXT,
    "level2_attempted": BOOL,
    "level2_status": TEXT,
    "level2_candidates_count": INT,
    "level2_processing_time_ms": INT,
    "primary_lei_code": TEXT,
    "primary_gleif_name": TEXT,
    "primary_selection_confidence": INT,
    "selection_algorithm": TEXT,
    "final_legal_name": TEXT,
    "final_confidence": INT,
    "final_extraction_method": TEXT,
    "primary_business_description": TEXT,
    "industry_context": TEXT,
    "corporate_heritage": TEXT,
    "business_scale": TEXT,
    "corporate_structure": TEXT,
    "hero_section_content": TEXT,
    "about_section_summary": TEXT,
    "business_focus_keywords": TEXT,
    "geographic_presence": TEXT,
    "corporate_timeline": TEXT,
    "business_category": TEXT,
    "business_subcategory": TEXT,
    "market_position": TEXT,
    "company_type": TEXT,
    "content_sources": TEXT,
    "extraction_timestamp": TIMESTAMP,
    "content_quality_score": INT,
    "manual_review_required": BOOL,
    "selection_notes": TEXT,
}
GLEIF_CANDIDATES: dict[str, str] = {
    "id": INT,
    "domain_id": INT,
    "lei_code": TEXT,
    "legal_name": TEXT,
    "entity_status": TEXT,
    "jurisdiction": TEXT,
    "legal_form": TEXT,
    "entity_category": TEXT,
    "registration_status": TEXT,
    "gleif_match_score": REAL,
    "weighted_score": REAL,
    "rank_position": INT,
    "domain_tld_score": REAL,
    "fortune500_score": REAL,
    "name_match_score": REAL,
    "entity_complexity_score": REAL,
    "match_method": TEXT,
    "selection_reason": TEXT,
    "is_primary_selection": BOOL,
    "gleif_full_data": TEXT,
    "created_at": TIMESTAMP,
}
SOURCE: dict[str, dict[str, str]] = {"domains": DOMAINS, "gleif_candidates": GLEIF_CANDIDATES}
# Of the application's type or wider: int2, int4 and int8 are read alike, as Int64.
IDS = frozenset({"id", "domain_id"})
ID_TYPE = "bigint"
FULL_DATA = "gleif_full_data"

DTYPES: dict[str, pl.DataType] = {
    TEXT: pl.String(),
    INT: pl.Int32(),
    REAL: pl.Float32(),
    BOOL: pl.Boolean(),
    TIMESTAMP: pl.Datetime("us"),
}
_I32, _I64, _F64, _STR, _BOOL = pl.Int32(), pl.Int64(), pl.Float64(), pl.String(), pl.Boolean()
_TIME, _LIST = pl.Datetime("us"), pl.List(pl.String())
_JOINED: dict[str, pl.DataType] = {
    "all_lei_codes": _STR,
    "all_legal_names": _STR,
    "all_jurisdictions": _STR,
    "all_entity_statuses": _STR,
    "lei_codes": _LIST,
}


def read_dtype(name: str, kind: str) -> pl.DataType:
    """Dtype that a source column is read as."""
    return pl.Int64() if name in IDS else DTYPES[kind]


def _known(columns: dict[str, str], *without: str) -> dict[str, pl.DataType]:
    return {name: read_dtype(name, kind) for name, kind in columns.items() if name not in without}


def _candidate_exports(*without: str) -> dict[str, pl.DataType]:
    return {
        "candidate_id": _I64,
        "domain_id": _I64,
        "domain_hash": _STR,
        "domain": _STR,
        "batch_id": _STR,
        "lei_code": _STR,
        **_known(GLEIF_CANDIDATES, "id", "domain_id", "lei_code", *without),
        "is_valid_lei": _BOOL,
    }


CANDIDATE_EXPORTS_WITH_FULL_DATA = pl.Schema(_candidate_exports())

SCHEMAS: dict[str, pl.Schema] = {
    "domain_exports": pl.Schema(
        {
            "domain_id": _I64,
            "domain_hash": _STR,
            **_known(DOMAINS, "id", "domain_hash"),
            "gleif_candidate_count": _I64,
            **_JOINED,
        }
    ),
    "candidate_exports": pl.Schema(_candidate_exports(FULL_DATA)),
    "rejected_rows": pl.Schema(
        {
            "source_table": _STR,
            "source_id": _I64,
            "domain_id": _I64,
            "reason": _STR,
            "detail": _STR,
            "row_json": _STR,
        }
    ),
    "unique_domains": pl.Schema(
        {
            "domain_hash": _STR,
            "domain": _STR,
            "result_count": _I64,
            "batch_count": _I64,
            "success_count": _I64,
            "failed_count": _I64,
            "best_domain_id": _I64,
            "best_batch_id": _STR,
            "status": _STR,
            "company_name": _STR,
            "confidence_score": pl.Float32(),
            "guessed_country": _STR,
            "primary_lei_code": _STR,
            "primary_gleif_name": _STR,
            "final_legal_name": _STR,
            "final_confidence": _I32,
            "first_created_at": _TIME,
            "last_processed_at": _TIME,
            "distinct_lei_count": _I64,
            **_JOINED,
        }
    ),
    "entities": pl.Schema(
        {
            "lei_code": _STR,
            "legal_name": _STR,
            "jurisdiction": _STR,
            "entity_status": _STR,
            "registration_status": _STR,
            "legal_form": _STR,
            "entity_category": _STR,
            "is_valid_lei": _BOOL,
            "candidate_count": _I64,
            "domain_count": _I64,
            "batch_count": _I64,
            "primary_count": _I64,
            "best_rank": _I32,
            "domains": _LIST,
            "first_seen_at": _TIME,
            "last_seen_at": _TIME,
        }
    ),
    "batch_summaries": pl.Schema(
        {
            "batch_id": _STR,
            "result_count": _I64,
            "unique_domain_count": _I64,
            "success_count": _I64,
            "failed_count": _I64,
            "pending_count": _I64,
            "processing_count": _I64,
            "other_count": _I64,
            "success_pct": _F64,
            "with_candidates_count": _I64,
            "with_candidates_pct": _F64,
            "candidate_count": _I64,
            "distinct_lei_count": _I64,
            "with_primary_count": _I64,
            "manual_review_count": _I64,
            "confidence_score_avg": _F64,
            "confidence_score_median": _F64,
            "processing_time_ms_avg": _F64,
            "processing_time_ms_p95": _F64,
            "first_created_at": _TIME,
            "last_processed_at": _TIME,
        }
    ),
    "jurisdiction_summaries": pl.Schema(
        {
            "jurisdiction": _STR,
            "candidate_count": _I64,
            "distinct_lei_count": _I64,
            "domain_count": _I64,
            "primary_count": _I64,
            "active_count": _I64,
        }
    ),
}
SORT_BY: dict[str, tuple[str, ...]] = {
    "domain_exports": ("domain_id",),
    "candidate_exports": ("domain_id", "rank_position", "candidate_id"),
    "rejected_rows": ("domain_id", "source_table", "source_id"),
    "unique_domains": ("domain_hash",),
    "entities": ("lei_code",),
    "batch_summaries": ("batch_id",),
    "jurisdiction_summaries": ("jurisdiction",),
}
KEYS: dict[str, tuple[str, ...]] = {
    **SORT_BY,
    "candidate_exports": ("domain_id", "lei_code"),
    "rejected_rows": ("source_table", "source_id"),
}
