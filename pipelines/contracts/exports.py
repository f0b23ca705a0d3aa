"""The schemas of the segmented export tables and of rejected_rows (DESIGN 4.1, 4.2, 4.6).

Belongs here: columns with dtype, nullability, key and description. Columns that a table takes over from the source are
derived from contracts/source.py, so that each column is described once. Does not: how a column is computed.
"""

import types

import dataframely as dy

from pipelines.contracts.source import FULL_DATA_COLUMN, GLEIF_CANDIDATES, Domains, GleifCandidates, source_columns

REJECT_REASONS = (
    "missing_domain",
    "missing_batch_id",
    "missing_status",
    "missing_lei_code",
    "missing_legal_name",
    "orphan_candidate",
    "duplicate_candidate",
)

_HASH = "md5 of the normalized domain in UTF-8, lower-case hex; always computed, the same in every batch"


def _schema(name: str, doc: str, columns: dict[str, dy.Column]) -> type[dy.Schema]:
    return types.new_class(
        name, (dy.Schema,), exec_body=lambda body: body.update(__doc__=doc, __module__=__name__, **columns)
    )


def joined_column(what: str) -> dy.String:
    """A text of values joined with `"; "` in rank order; a NULL value is an empty slot, no candidates is `""`."""
    return dy.String(
        nullable=False, description=f'{what} of the candidates, joined with "; " in rank order; aligned with the others'
    )


def _domain_exports() -> dict[str, dy.Column]:
    known = dict(Domains.columns())
    del known["id"], known["domain_hash"]
    return {
        "domain_id": dy.Int32(nullable=False, primary_key=True, description="Id of the row of `domains`"),
        "domain_hash": dy.String(nullable=False, description=_HASH, regex="^[0-9a-f]{32}$"),
        **known,
        "gleif_candidate_count": dy.UInt32(nullable=False, description="Rows in candidate_exports; 0 where none"),
        "all_lei_codes": joined_column("LEI codes"),
        "all_legal_names": joined_column("Legal names"),
        "all_jurisdictions": joined_column("Jurisdictions"),
        "all_entity_statuses": joined_column("Entity statuses"),
        "lei_codes": dy.List(
            dy.String(nullable=False), nullable=False, description="LEI codes in rank order; no candidates is []"
        ),
    }


def _candidate_exports(*, include_full_data: bool) -> dict[str, dy.Column]:
    known = source_columns(GLEIF_CANDIDATES, include_full_data=include_full_data)
    for name in ("id", "domain_id", "lei_code"):
        del known[name]
    head = {
        "candidate_id": dy.Int32(nullable=False, description="Id of the row of `gleif_candidates`"),
        "domain_id": dy.Int32(nullable=False, primary_key=True, description="Row of domain_exports"),
        "domain_hash": dy.String(nullable=False, description=_HASH, regex="^[0-9a-f]{32}$"),
        "domain": dy.String(nullable=False, description="The domain as the source has it"),
        "batch_id": dy.String(nullable=False, description="Batch that the domain row belongs to"),
        "lei_code": dy.String(nullable=False, primary_key=True, description="LEI (ISO 17442) as the source has it"),
    }
    tail = {
        "is_valid_lei": dy.Bool(
            nullable=False,
            description="Whether lei_code has the LEI format and right check digits (ISO 7064 MOD 97-10)",
        )
    }
    return {**head, **known, **tail}


DomainExports = _schema("DomainExports", "One row per row of `domains` that is not rejected.", _domain_exports())
CandidateExports = _schema(
    "CandidateExports", "One row per domain row and LEI.", _candidate_exports(include_full_data=False)
)
CandidateExportsWithFullData = _schema(
    "CandidateExportsWithFullData",
    f"CandidateExports with {FULL_DATA_COLUMN} (INCLUDE_FULL_DATA=true).",
    _candidate_exports(include_full_data=True),
)


class RejectedRows(dy.Schema):
    """Every source row that is in no export, and why."""

    source_table = dy.String(nullable=False, primary_key=True, description="`domains` or `gleif_candidates`")
    source_id = dy.Int32(nullable=False, primary_key=True, description="Id of the row in source_table")
    domain_id = dy.Int32(nullable=True, description="Id of the row of `domains` that the row is, or points to")
    reason = dy.String(nullable=False, description=f"First that fits of {', '.join(REJECT_REASONS)}")
    detail = dy.String(nullable=False, description="The reason in words, with the ids that matter")
    row_json = dy.String(
        nullable=False, description="The source row as a JSON object: keys in column order, ISO 8601 times in UTC"
    )


__all__ = ["CandidateExports", "CandidateExportsWithFullData", "DomainExports", "GleifCandidates", "RejectedRows"]
