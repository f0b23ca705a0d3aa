"""Which source rows are exported, which are rejected and why, on hand-written rows (DESIGN 4.1, 4.2, 4.6)."""

import json
import re
from datetime import datetime
from typing import Any

import polars as pl
import pytest
from stdnum import lei as stdnum_lei

from pipelines.contracts.source import DOMAINS, GLEIF_CANDIDATES, SourceTable, source_columns
from pipelines.contracts.tables import published_tables
from pipelines.transform.candidate_exports import build_candidate_exports
from pipelines.transform.domain_exports import build_domain_exports
from pipelines.transform.text import is_valid_lei
from pipelines.transform.validation import build_rejected_rows, validate_candidates, validate_domains
from tests.oracle.expected import SCHEMAS
from tests.oracle.kit import md5

pytestmark = pytest.mark.fast

Row = dict[str, Any]
JUNE = datetime(2025, 6, 1, 2, 3, 4, 5)  # noqa: DTZ001  UTC without zone


def staged(table: SourceTable, rows: list[Row]) -> pl.DataFrame:
    columns = source_columns(table, include_full_data=True)
    schema = {name: column.dtype for name, column in columns.items()}
    return pl.DataFrame([{name: row.get(name) for name in schema} for row in rows], schema=schema)


def domain(number: int, name: str | None = "a.example", **more: Any) -> Row:
    return {"id": number, "domain": name, "batch_id": "b", "status": "success", **more}


def candidate(number: int, owner: int | None, code: str | None = "L", **more: Any) -> Row:
    return {"id": number, "domain_id": owner, "lei_code": code, "legal_name": "N", **more}


def export(domains: list[Row], candidates: list[Row], *, full: bool = False) -> dict[str, list[Row]]:
    """The three tables, by name; their columns and types are those of the oracle."""
    validated_domains = validate_domains(staged(DOMAINS, domains))
    validated = validate_candidates(staged(GLEIF_CANDIDATES, candidates), validated_domains)
    accepted = build_candidate_exports(validated, published_tables(include_full_data=full)[1])
    frames = {
        "domain_exports": build_domain_exports(validated_domains, accepted),
        "candidate_exports": accepted,
        "rejected_rows": build_rejected_rows(validated_domains, validated, include_full_data=full),
    }
    assert full or all(frame.schema == SCHEMAS[name] for name, frame in frames.items())
    return {name: frame.to_dicts() for name, frame in frames.items()}


def reasons(domains: list[Row], candidates: list[Row]) -> list[tuple[Any, ...]]:
    rejected = export(domains, candidates)["rejected_rows"]
    return [tuple(row[name] for name in ("source_id", "domain_id", "reason", "detail")) for row in rejected]


@pytest.mark.parametrize("column", ["domain", "batch_id", "status"])
def test_a_domain_row_without_a_required_text(column: str) -> None:
    rows = [domain(1, **{column: None}), domain(2, **{column: "\ufeff "}), domain(3)]
    assert reasons(rows, []) == [
        (1, 1, f"missing_{column}", f"{column} is NULL"),
        (2, 2, f"missing_{column}", f"{column} is blank"),
    ]


@pytest.mark.parametrize("column", ["lei_code", "legal_name"])
def test_a_candidate_without_a_required_text(column: str) -> None:
    rows = [candidate(1, 1, **{column: None}), candidate(2, 1, **{column: " "}), candidate(3, 1)]
    assert reasons([domain(1)], rows) == [
        (1, 1, f"missing_{column}", f"{column} is NULL"),
        (2, 1, f"missing_{column}", f"{column} is blank"),
    ]


def test_the_first_reason_stands() -> None:
    assert reasons([domain(1, None, batch_id=" ", status=None)], []) == [(1, 1, "missing_domain", "domain is NULL")]
    assert reasons([], [candidate(1, 5, " ", legal_name=None)]) == [(1, 5, "missing_lei_code", "lei_code is blank")]


def test_candidates_without_a_domain_row_that_is_kept() -> None:
    domains = [domain(4), domain(2, " "), domain(6)]
    candidates = [candidate(n, owner) for n, owner in enumerate((None, 1, 2, 3, 4, 5, 6, 7), start=10)]
    assert reasons(domains, candidates) == [
        (11, 1, "orphan_candidate", "no row 1 in domains"),
        (2, 2, "missing_domain", "domain is blank"),
        (12, 2, "orphan_candidate", "row 2 of domains is rejected"),
        (13, 3, "orphan_candidate", "no row 3 in domains"),
        (15, 5, "orphan_candidate", "no row 5 in domains"),
        (17, 7, "orphan_candidate", "no row 7 in domains"),
        (10, None, "orphan_candidate", "domain_id is NULL"),
    ]


def test_a_candidate_without_domain_id_belongs_to_no_domain_row() -> None:
    assert reasons([domain(1)], [candidate(5, None)]) == [(5, None, "orphan_candidate", "domain_id is NULL")]


def test_the_first_of_an_lei_in_rank_order_is_kept() -> None:
    candidates = [
        candidate(1, 1, rank_position=2),
        candidate(2, 1, rank_position=1, legal_name="kept"),
        candidate(3, 1, legal_name="NULL is last"),
        candidate(4, 1, rank_position=0, legal_name=" "),
        candidate(5, 2, rank_position=9, legal_name="of another domain row"),
        candidate(6, 1, "l", rank_position=3, legal_name="another code"),
        candidate(7, 9, "M"),
        candidate(8, 9, "M"),
    ]
    found = export([domain(1), domain(2)], candidates)
    assert [row["candidate_id"] for row in found["candidate_exports"]] == [2, 6, 5]
    first = "same lei_code as candidate 2, which is first in rank order"
    assert [(row["source_id"], row["reason"], row["detail"]) for row in found["rejected_rows"]] == [
        (1, "duplicate_candidate", first),
        (3, "duplicate_candidate", first),
        (4, "missing_legal_name", "legal_name is blank"),
        (7, "orphan_candidate", "no row 9 in domains"),
        (8, "orphan_candidate", "no row 9 in domains"),
    ]


def test_domains_with_and_without_candidates() -> None:
    domains = [domain(3), domain(1, " A.Example "), domain(2)]
    candidates = [
        candidate(1, 1, "B", rank_position=2, jurisdiction="NO"),
        candidate(2, 1, "A", entity_status="ACTIVE"),
        candidate(3, 1, "C", rank_position=1),
        candidate(4, 3, "A"),
    ]
    first, second, third = export(domains, candidates)["domain_exports"]
    assert (first["domain_id"], first["domain"], first["domain_hash"]) == (1, " A.Example ", md5("a.example"))
    assert (first["gleif_candidate_count"], first["lei_codes"]) == (3, ["C", "B", "A"])
    texts = ("all_lei_codes", "all_legal_names", "all_jurisdictions", "all_entity_statuses")
    assert [first[name] for name in texts] == ["C; B; A", "N; N; N", "; NO; ", "; ; ACTIVE"]
    assert (second["domain_id"], second["gleif_candidate_count"], second["lei_codes"]) == (2, 0, [])
    assert [second[name] for name in texts] == [""] * 4
    assert (third["domain_id"], third["lei_codes"]) == (3, ["A"])


def test_a_candidate_has_what_its_domain_row_has() -> None:
    domains = [domain(number, f"{number}.EXAMPLE", batch_id=f"b{number}") for number in (7, 5, 9)]
    found = export(domains, [candidate(1, 9), candidate(2, 5), candidate(3, 7)])["candidate_exports"]
    assert [tuple(row[name] for name in ("candidate_id", "domain", "batch_id", "domain_hash")) for row in found] == [
        (2, "5.EXAMPLE", "b5", md5("5.example")),
        (3, "7.EXAMPLE", "b7", md5("7.example")),
        (1, "9.EXAMPLE", "b9", md5("9.example")),
    ]


@pytest.mark.parametrize("full", [False, True])
def test_a_rejected_row_is_kept_as_json(*, full: bool) -> None:
    rejected = [domain(1, "", created_at=JUNE), candidate(2, 1, rank_position=3, gleif_full_data="{}")]
    of_domain, of_candidate = (
        json.loads(row["row_json"]) for row in export(rejected[:1], rejected[1:], full=full)["rejected_rows"]
    )
    assert list(of_domain) == list(source_columns(DOMAINS, include_full_data=full))
    assert list(of_candidate) == list(source_columns(GLEIF_CANDIDATES, include_full_data=full))
    assert (of_domain["created_at"], of_domain["processed_at"]) == ("2025-06-01T02:03:04.000005Z", None)
    assert (of_candidate["id"], of_candidate["rank_position"], of_candidate["legal_name"]) == (2, 3, "N")
    assert of_candidate.get("gleif_full_data") == ("{}" if full else None)


def test_valid_leis_like_stdnum() -> None:
    real = ["HWUPKR0MPOU8FGXBT394", "KNX4USFCNGPY45LOCE31", "13250000000000000107", "5493001KJTIIGC8Y1R12"]
    changed = [
        code[:place] + other + code[place + 1 :]
        for code in real
        for place in range(20)
        for other in "0189AJYZ"
        if place < 18 or other.isdigit()
    ]
    # Every letter and digit at every place, with the check digits that belong to it.
    made = [
        body + f"{98 - int(''.join(str(int(c, 36)) for c in body + '00')) % 97:02d}"
        for c in "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
        for place in range(18)
        for body in ("Z" * place + c + "Z" * (17 - place), "0" * place + c + "9" * (17 - place))
    ]
    other = [None, "", "0" * 20, "X", real[0].lower(), real[0][:19], real[0] + "\n", " " + real[0], "É" + real[0][1:]]
    codes = [*real, *changed, *made, *other]
    expected = [
        code is not None and re.fullmatch("[A-Z0-9]{18}[0-9]{2}", code) is not None and stdnum_lei.is_valid(code)
        for code in codes
    ]
    found = pl.Series("code", codes).to_frame().select(is_valid_lei(pl.col("code"))).to_series()
    assert (found.name, found.dtype) == ("code", pl.Boolean)
    assert found.to_list() == expected
    assert found.sum() >= len(real) + len(made)
