"""The schemas of the segmented export tables and of rejected_rows (DESIGN 4.1, 4.2, 4.6)."""

from functools import partial

import dataframely as dy

from pipelines.contracts.columns import derived_from, make_schema, stored_as, text, with_lineage
from pipelines.contracts.source import (
    CODE,
    DOMAINS,
    FULL_DATA_COLUMN,
    GLEIF_CANDIDATES,
    KEY,
    TEXT,
    Domains,
    GleifCandidates,
    source_columns,
)

# What each means; where several fit, the first stands. Missing is NULL or blank.
REJECT_REASONS = {
    "missing_domain": "A row of `domains` whose domain is NULL or blank",
    "missing_batch_id": "A row of `domains` whose batch_id is NULL or blank",
    "missing_status": "A row of `domains` whose status is NULL or blank",
    "missing_lei_code": "A candidate whose lei_code is NULL or blank",
    "missing_legal_name": "A candidate whose legal_name is NULL or blank",
    "orphan_candidate": "A candidate whose domain_id is NULL, or whose domain row is not there or is itself rejected",
    "duplicate_candidate": "A candidate whose LEI another candidate of the same domain row, earlier in rank order, has",
}

# What is joined in each text, the column that it is of, and how the text is stored.
_JOINED = {
    "all_lei_codes": ("LEI codes", "lei_code", TEXT),
    "all_legal_names": ("Legal names", "legal_name", TEXT),
    "all_jurisdictions": ("Jurisdictions", "jurisdiction", CODE),
    "all_entity_statuses": ("Entity statuses", "entity_status", CODE),
}
JOINED = {text: column for text, (_, column, _) in _JOINED.items()}
SEPARATOR = "; "
_HASH = "md5 of the normalized domain in UTF-8, lower-case hex; always computed, the same in every batch"
HASH_PATTERN = "^[0-9a-f]{32}$"


def joined_columns(order: str, table: str) -> dict[str, dy.Column]:
    """The four joined texts and the list of codes: a NULL value is an empty slot, no candidates is `""` and `[]`.

    Args:
        table: The table that the values are taken from.
    """
    texts: dict[str, dy.Column] = {
        name: derived_from(
            text(
                storage,
                f'{what} of the candidates, joined with "{SEPARATOR}" in {order}; aligned with the others',
                nullable=False,
            ),
            f"{table}.{column}",
        )
        for name, (what, column, storage) in _JOINED.items()
    }
    codes = dy.List(dy.String(nullable=False), nullable=False, description=f"LEI codes in {order}; no candidates is []")
    return {**texts, "lei_codes": derived_from(codes, f"{table}.lei_code")}


_of_domains = partial(with_lineage, DOMAINS.name, Domains)
_of_candidates = partial(with_lineage, GLEIF_CANDIDATES.name, GleifCandidates)


def _domain_exports() -> dict[str, dy.Column]:
    domain_hash = text(KEY, _HASH, nullable=False, regex=HASH_PATTERN)
    count = dy.Int64(nullable=False, description="Rows in candidate_exports; 0 where none")
    return {
        "domain_id": _of_domains("id", primary_key=True),
        "domain_hash": derived_from(domain_hash, "domains.domain"),
        **{name: _of_domains(name) for name in Domains.column_names() if name not in {"id", "domain_hash"}},
        "gleif_candidate_count": derived_from(count, "gleif_candidates.domain_id"),
        **joined_columns("rank order", GLEIF_CANDIDATES.name),
    }


def _candidate_exports(*, include_full_data: bool) -> dict[str, dy.Column]:
    names = source_columns(GLEIF_CANDIDATES, include_full_data=include_full_data)
    # What is of the domain repeats for each candidate of it.
    domain_hash = text(CODE, _HASH, nullable=False, regex=HASH_PATTERN)
    is_valid = dy.Bool(
        nullable=False, description="Whether lei_code has the LEI format and right check digits (ISO 7064 MOD 97-10)"
    )
    return {
        "candidate_id": _of_candidates("id"),
        "domain_id": _of_candidates("domain_id", primary_key=True, description="Row of domain_exports"),
        "domain_hash": derived_from(domain_hash, "domains.domain"),
        "domain": stored_as(_of_domains("domain"), CODE),
        "batch_id": _of_domains("batch_id", description="Batch that the domain row belongs to"),
        "lei_code": _of_candidates("lei_code", primary_key=True),
        **{name: _of_candidates(name) for name in names if name not in {"id", "domain_id", "lei_code"}},
        "is_valid_lei": derived_from(is_valid, "gleif_candidates.lei_code"),
    }


DomainExports = make_schema(
    __name__, "DomainExports", "One row per row of `domains` that is not rejected.", _domain_exports()
)
CandidateExports = make_schema(
    __name__, "CandidateExports", "One row per domain row and LEI.", _candidate_exports(include_full_data=False)
)
CandidateExportsWithFullData = make_schema(
    __name__,
    "CandidateExportsWithFullData",
    f"CandidateExports with {FULL_DATA_COLUMN} (INCLUDE_FULL_DATA=true).",
    _candidate_exports(include_full_data=True),
)


def _rejected_rows() -> dict[str, dy.Column]:
    domain_id = dy.Int64(nullable=True, description="Id of the row of `domains` that the row is, or points to")
    source_id = dy.Int64(nullable=False, primary_key=True, description="Id of the row in source_table")
    return {
        "source_table": text(CODE, "`domains` or `gleif_candidates`", nullable=False, primary_key=True),
        "source_id": derived_from(source_id, "domains.id", "gleif_candidates.id"),
        "domain_id": derived_from(domain_id, "domains.id", "gleif_candidates.domain_id"),
        "reason": text(CODE, f"First that fits of {', '.join(REJECT_REASONS)}", nullable=False),
        "detail": text(CODE, "The reason in words, with the ids that matter", nullable=False),
        "row_json": text(
            TEXT, "The source row as a JSON object: keys in column order, ISO 8601 times in UTC", nullable=False
        ),
    }


RejectedRows = make_schema(
    __name__, "RejectedRows", "Every source row that is in no export, and why.", _rejected_rows()
)
