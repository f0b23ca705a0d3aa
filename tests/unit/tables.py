"""Hand-written rows of domain_exports and candidate_exports, and the rules of the other tables on whole frames."""

from typing import Any

import polars as pl

from pipelines.transform.batch_summaries import (
    build_batch_summaries,
    count_batch_candidates,
    count_batch_results,
    measure_batches,
)
from pipelines.transform.entities import build_entities
from pipelines.transform.jurisdiction_summaries import (
    build_jurisdiction_summaries,
    count_jurisdiction_candidates,
    count_jurisdiction_domains,
)
from pipelines.transform.unique_domains import build_unique_domains
from tests.oracle.expected import SCHEMAS
from tests.oracle.kit import md5


def domain(number: int, name: str = "a.example", batch: str = "b1", **more: Any) -> dict[str, Any]:
    """A row of domain_exports."""
    return {
        "domain_id": number,
        "domain_hash": md5(name.strip().lower()),
        "domain": name,
        "batch_id": batch,
        "status": "success",
        "gleif_candidate_count": 0,
        "all_lei_codes": "",
        "all_legal_names": "",
        "all_jurisdictions": "",
        "all_entity_statuses": "",
        "lei_codes": [],
        **more,
    }


def candidate(number: int, owner: dict[str, Any], code: str = "L1", **more: Any) -> dict[str, Any]:
    """A row of candidate_exports, under a row that `domain` made."""
    of_domain = {name: owner[name] for name in ("domain_id", "domain_hash", "domain", "batch_id")}
    return {**of_domain, "candidate_id": number, "lei_code": code, "legal_name": "N", "is_valid_lei": False, **more}


def with_candidates(domains: pl.DataFrame, candidates: pl.DataFrame) -> pl.DataFrame:
    """domain_exports with the count and joined texts that its candidates give, joined in plain Python."""
    by_domain: dict[int, list[dict[str, Any]]] = {}
    for row in candidates.iter_rows(named=True):
        by_domain.setdefault(row["domain_id"], []).append(row)
    rows = []
    for row in domains.iter_rows(named=True):
        own = by_domain.get(row["domain_id"], [])
        joined = {
            "all_lei_codes": "; ".join(c["lei_code"] for c in own),
            "all_legal_names": "; ".join(c["legal_name"] for c in own),
            "all_jurisdictions": "; ".join(c["jurisdiction"] or "" for c in own),
            "all_entity_statuses": "; ".join(c["entity_status"] or "" for c in own),
            "lei_codes": [c["lei_code"] for c in own],
        }
        rows.append({**row, "gleif_candidate_count": len(own), **joined})
    return pl.DataFrame(rows, schema=SCHEMAS["domain_exports"])


def derive(domains: pl.DataFrame, candidates: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The four tables by their rules, of whole frames: no bucket, no file."""
    d, c = domains, candidates
    return {
        "unique_domains": build_unique_domains(d, c),
        "entities": build_entities(c),
        "batch_summaries": build_batch_summaries(count_batch_results(d), count_batch_candidates(c), measure_batches(d)),
        "jurisdiction_summaries": build_jurisdiction_summaries(
            count_jurisdiction_candidates(c), count_jurisdiction_domains(c)
        ),
    }
