"""The schemas of the tables over all batches: unique_domains, entities and the two summaries (DESIGN 4.3 to 4.5)."""

from functools import partial

import dataframely as dy

from pipelines.contracts.columns import Storage, derived_from, make_schema, text, with_lineage
from pipelines.contracts.exports import HASH_PATTERN, CandidateExports, DomainExports, joined_columns
from pipelines.contracts.orders import BEST_ROW, BEST_ROW_TEXT, LATEST_ROW

_DOMAINS, _CANDIDATES = "domain_exports", "candidate_exports"
_PERCENT = "percent, 0 to 100"


_of_domains = partial(with_lineage, _DOMAINS, DomainExports)
_of_candidates = partial(with_lineage, _CANDIDATES, CandidateExports)


def _count(description: str, *sources: str) -> dy.Column:
    return derived_from(dy.Int64(nullable=False, description=description), *sources)


def _number(description: str, unit: str, *sources: str, nullable: bool = True) -> dy.Column:
    return derived_from(dy.Float64(nullable=nullable, description=description, metadata={"unit": unit}), *sources)


def _unique_domains() -> dict[str, dy.Column]:
    status = f"{_DOMAINS}.status"
    domain_hash = text(
        Storage.KEY,
        "md5 of the normalized domain in UTF-8, lower-case hex",
        nullable=False,
        primary_key=True,
        regex=HASH_PATTERN,
    )
    domain = text(Storage.KEY, "Normalized domain: trimmed, lower case", nullable=False)
    described = DomainExports.columns()
    best = {name: _of_domains(name, description=f"{described[name].description}; of the best row") for name in BEST_ROW}
    return {
        "domain_hash": derived_from(domain_hash, f"{_DOMAINS}.domain_hash"),
        "domain": derived_from(domain, f"{_DOMAINS}.domain"),
        "result_count": _count("Rows of domain_exports", f"{_DOMAINS}.domain_hash"),
        "batch_count": _count("Batches that the domain is in", f"{_DOMAINS}.batch_id"),
        "success_count": _count("Rows with status success", status),
        "failed_count": _count("Rows with status failed", status),
        "best_domain_id": _of_domains("domain_id", description=f"Best row: {BEST_ROW_TEXT}"),
        "best_batch_id": _of_domains("batch_id", description="Batch of the best row"),
        **best,
        "first_created_at": _of_domains("created_at", description="When the first of its rows was created"),
        "last_processed_at": _of_domains("processed_at", description="When processing of its rows last ended"),
        "distinct_lei_count": _count("Distinct LEIs among the candidates of its rows", f"{_CANDIDATES}.lei_code"),
        **joined_columns("order of best rank, then number of rows, then code", _CANDIDATES),
    }


def _entities() -> dict[str, dy.Column]:
    description = "Distinct normalized domains that have the LEI as a candidate, sorted by bytes"
    domains = dy.List(dy.String(nullable=False), nullable=False, description=description)
    described = CandidateExports.columns()
    latest = {
        name: _of_candidates(name, description=f"{described[name].description}; of the latest row")
        for name in LATEST_ROW
    }
    return {
        "lei_code": _of_candidates("lei_code", primary_key=True),
        **latest,
        "is_valid_lei": _of_candidates("is_valid_lei"),
        "candidate_count": _count("Rows of candidate_exports", f"{_CANDIDATES}.lei_code"),
        "domain_count": _count("Distinct domains (domain_hash) that have the LEI", f"{_CANDIDATES}.domain_hash"),
        "batch_count": _count("Batches that the LEI is in", f"{_CANDIDATES}.batch_id"),
        "primary_count": _count("Rows that the application chose", f"{_CANDIDATES}.is_primary_selection"),
        "best_rank": _of_candidates("rank_position", description="Lowest rank among its rows"),
        "domains": derived_from(domains, f"{_CANDIDATES}.domain"),
        "first_seen_at": _of_candidates("created_at", description="When the first of its rows was stored"),
        "last_seen_at": _of_candidates("created_at", description="When the last of its rows was stored"),
    }


def _batch_summaries() -> dict[str, dy.Column]:
    status, count = f"{_DOMAINS}.status", f"{_DOMAINS}.gleif_candidate_count"
    score, duration = f"{_DOMAINS}.confidence_score", f"{_DOMAINS}.processing_time_ms"
    return {
        "batch_id": _of_domains("batch_id", primary_key=True, description="The batch"),
        "result_count": _count("Rows of domain_exports", f"{_DOMAINS}.batch_id"),
        "unique_domain_count": _count("Distinct domains (domain_hash)", f"{_DOMAINS}.domain_hash"),
        "success_count": _count("Rows with status success", status),
        "failed_count": _count("Rows with status failed", status),
        "pending_count": _count("Rows with status pending", status),
        "processing_count": _count("Rows with status processing", status),
        "other_count": _count("Rows with any other status", status),
        "success_pct": _number("success_count of result_count", _PERCENT, status, nullable=False),
        "with_candidates_count": _count("Rows with at least one candidate", count),
        "with_candidates_pct": _number("with_candidates_count of result_count", _PERCENT, count, nullable=False),
        "candidate_count": _count("Rows of candidate_exports", f"{_CANDIDATES}.batch_id"),
        "distinct_lei_count": _count("Distinct LEIs among its candidates", f"{_CANDIDATES}.lei_code"),
        "with_primary_count": _count("Rows whose primary_lei_code is not blank", f"{_DOMAINS}.primary_lei_code"),
        "manual_review_count": _count("Rows a person should look at", f"{_DOMAINS}.manual_review_required"),
        "confidence_score_avg": _number("Average confidence_score; NULL is left out", "points, 0 to 100", score),
        "confidence_score_median": _number("Median confidence_score; NULL is left out", "points, 0 to 100", score),
        "processing_time_ms_avg": _number("Average processing_time_ms; NULL is left out", "ms", duration),
        "processing_time_ms_p95": _number("95th percentile of processing_time_ms; NULL is left out", "ms", duration),
        "first_created_at": _of_domains("created_at", description="When the first of its rows was created"),
        "last_processed_at": _of_domains("processed_at", description="When processing of its rows last ended"),
    }


def _jurisdiction_summaries() -> dict[str, dy.Column]:
    jurisdiction = _of_candidates(
        "jurisdiction",
        nullable=False,
        primary_key=True,
        description="Legal jurisdiction: ISO 3166-1 alpha-2 or ISO 3166-2; `unknown` where it is NULL",
    )
    return {
        "jurisdiction": jurisdiction,
        "candidate_count": _count("Rows of candidate_exports", f"{_CANDIDATES}.jurisdiction"),
        "distinct_lei_count": _count("Distinct LEIs", f"{_CANDIDATES}.lei_code"),
        "domain_count": _count("Distinct domains (domain_hash)", f"{_CANDIDATES}.domain_hash"),
        "primary_count": _count("Rows that the application chose", f"{_CANDIDATES}.is_primary_selection"),
        "active_count": _count("Rows with entity_status ACTIVE", f"{_CANDIDATES}.entity_status"),
    }


UniqueDomains = make_schema(
    __name__, "UniqueDomains", "One row per domain across all batches, with its best row.", _unique_domains()
)
Entities = make_schema(__name__, "Entities", "One row per LEI.", _entities())
BatchSummaries = make_schema(__name__, "BatchSummaries", "One row per batch.", _batch_summaries())
JurisdictionSummaries = make_schema(
    __name__, "JurisdictionSummaries", "One row per jurisdiction.", _jurisdiction_summaries()
)
