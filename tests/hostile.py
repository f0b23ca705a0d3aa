"""Hostile rows of both source tables, by topic. The same on every run."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.hostile_values import (
    BLANKS,
    CASED,
    HOSTILE_TEXTS,
    ID_MAX,
    ID_MIN,
    INT_MAX,
    INT_MIN,
    INTS,
    LEI,
    NOT_TRIMMED,
    ODD_LEIS,
    REALS,
    TIMESTAMPS,
    TRIMMED,
    make_lei,
)
from tests.oracle.expected import BOOL, DOMAINS, GLEIF_CANDIDATES, INT, REAL, TIMESTAMP
from tests.oracle.source import Row, insert_source

SCATTER_SEED = 20261123


REALS += ["-3.4028235e38", "85.3", "0.1", "16777216", "16777217", "33.333332"]


_OWN_NAME = "a name of its own"


@dataclass
class Builder:
    """Collects rows of both tables; ids are given out in order unless named."""

    next_domain: int = 1000
    next_candidate: int = 5000
    domains: list[Row] = field(default_factory=list)
    candidates: list[Row] = field(default_factory=list)

    def domain(self, domain: str | None = _OWN_NAME, **columns: Any) -> int:
        """Add a row of `domains`; its id. Without a name it gets one of its own."""
        number = columns.pop("id", None)
        if number is None:
            number, self.next_domain = self.next_domain, self.next_domain + 1
        name = f"d{number}.example" if domain is _OWN_NAME else domain
        row = {"id": number, "domain": name, "status": "success", "batch_id": "hostile-batch", **columns}
        self.domains.append(row)
        return int(number)

    def candidate(self, domain_id: int | None, lei_code: str | None = LEI, **columns: Any) -> int:
        """Add a row of `gleif_candidates`; its id."""
        number = columns.pop("id", None)
        if number is None:
            number, self.next_candidate = self.next_candidate, self.next_candidate + 1
        row = {"id": number, "domain_id": domain_id, "lei_code": lei_code, "legal_name": f"Entity {number}", **columns}
        self.candidates.append(row)
        return int(number)


def add_texts(rows: Builder) -> None:
    """Every hostile text in every text column that is joined, grouped, or carried; one of 1 MB."""
    together = rows.domain(company_name="all texts under one row")
    for number, text in enumerate(HOSTILE_TEXTS):
        body = f"TEXT{number:014d}"
        rows.candidate(together, make_lei(body), legal_name=text, rank_position=number, jurisdiction=text)
        alone = rows.domain(
            company_name=text, error_message=text, primary_lei_code=text, final_legal_name=text, guessed_country=text
        )
        rows.candidate(
            alone,
            f"{text}!",
            legal_name=text,
            entity_status=text,
            jurisdiction=text,
            registration_status=text,
            selection_reason=text,
            gleif_full_data=text,
        )
        rows.domain(f"{text}.text.example", batch_id=f"batch {text}", status=text)
    rows.domain(company_name="M" * 1_000_000 + "é", about_section_summary="long", batch_id="batch of the 1 MB text")
    big = rows.domain()
    rows.candidate(big, legal_name="\U0001f4be; " * 100_000, rank_position=1, gleif_full_data='{ "a" : 1 ,"a":1.10}')


def add_white_space(rows: Builder) -> None:
    """Every character of the trim set, and those not in it, around and inside a domain; alone it is blank or not."""
    for number, space in enumerate([*TRIMMED, *NOT_TRIMMED]):
        host = rows.domain(f"{space}{space}Space{space}{number}.Example{space}", batch_id="white space")
        rows.candidate(host, rank_position=1)
        rows.candidate(rows.domain(space, batch_id="white space"), rank_position=1)
        rows.domain(status=space)
        rows.domain(batch_id=space)
        rows.candidate(host, space, rank_position=2)
        rows.candidate(host, f"{space}LEI{number}", legal_name=space, rank_position=3)
        rows.candidate(host, f"LEI{number}", legal_name=f"{space}name{space}", rank_position=4)
        rows.domain(primary_lei_code=space, batch_id=f"primary {number}")
    everything = "".join(TRIMMED)
    rows.domain(f"{everything}all.example{everything}")
    rows.domain(everything)
    rows.domain("\u0085 inner.example \u0085")


def add_case(rows: Builder) -> None:
    """Upper case beyond ASCII; each also in lower case in another batch, so both are one unique domain."""
    for text in CASED:
        rows.candidate(rows.domain(text, batch_id="case 1"), rank_position=1)
        rows.candidate(rows.domain(f" {text}\u00a0", batch_id="case 2"), rank_position=2)
        rows.domain(text.lower(), batch_id="case 3")


def add_missing(rows: Builder) -> None:
    """Every way to be NULL or blank in every required column, alone and several at once."""
    for blank in BLANKS:
        for bad in ({"domain": blank}, {"batch_id": blank}, {"status": blank}):
            rejected = rows.domain(**bad)
            rows.candidate(rejected, rank_position=1)
            rows.candidate(rejected, rank_position=1)
            rows.candidate(rejected, None)
            rows.candidate(rejected, LEI, legal_name=blank)
        rows.domain(blank, batch_id=blank, status=blank)
        rows.domain(batch_id=blank, status=blank)
        good = rows.domain()
        rows.candidate(good, blank)
        rows.candidate(good, blank, legal_name=blank)
        rows.candidate(good, LEI, legal_name=blank, rank_position=1)
        rows.candidate(None, blank)
        rows.candidate(None, LEI, legal_name=blank)


def add_orphans(rows: Builder) -> None:
    """Candidates of no row, of NULL, of rejected rows; the same LEI twice among them is no duplicate."""
    for domain_id in (None, 999_999, -999_999, INT_MAX - 1, INT_MIN + 1):
        for _ in range(2):
            rows.candidate(domain_id, rank_position=1)
    rejected = rows.domain(" ")
    rows.candidate(rejected, rank_position=1)
    rows.candidate(rejected, rank_position=2)


def add_ranks(rows: Builder) -> None:
    """rank_position NULL, tied, negative, extreme."""
    host = rows.domain()
    ranks = [None, 3, 1, None, 1, INT_MAX, INT_MIN, 0, -1, 1, INT_MAX, None, INT_MIN]
    for number, rank in enumerate(ranks):
        rows.candidate(
            host,
            make_lei(f"RANK{number:014d}"),
            rank_position=rank,
            jurisdiction=None if number % 3 else f"J{number}",
            entity_status=None if number % 2 else "ACTIVE",
        )
    only_null = rows.domain()
    for number in range(4):
        rows.candidate(only_null, make_lei(f"RANK{number:014d}"))
    # Ids against the order in which they are inserted.
    backwards = rows.domain()
    for number in range(5):
        rows.candidate(backwards, make_lei(f"BACK{number:014d}"), id=90_000 - number, rank_position=1)


def add_duplicates(rows: Builder) -> None:
    """One LEI several times under a row; codes that only look alike; a first one that is itself rejected."""
    twice = rows.domain()
    rows.candidate(twice, rank_position=2, legal_name="second")
    rows.candidate(twice, rank_position=1, legal_name="first")
    thrice = rows.domain()
    for name in ("first by id", "second", "third"):
        rows.candidate(thrice, rank_position=7, legal_name=name)
    nulls = rows.domain()
    rows.candidate(nulls, rank_position=None)
    rows.candidate(nulls, rank_position=None)
    rows.candidate(nulls, rank_position=INT_MAX, legal_name="kept: NULL is last")
    alike = rows.domain()
    for code in (LEI, f"{LEI} ", f" {LEI}", LEI.lower(), LEI.title(), f"{LEI}\n", f"{LEI}\u200b", "e\u0301", "\u00e9"):
        rows.candidate(alike, code, rank_position=1)
    rejected_first = rows.domain()
    rows.candidate(rejected_first, rank_position=1, legal_name=None)
    rows.candidate(rejected_first, rank_position=2, legal_name="kept, the first has no name")
    rows.candidate(rejected_first, rank_position=3, legal_name="duplicate of the second")
    between = rows.domain()
    for rank in (5, None, 5, -5, 5):
        rows.candidate(between, rank_position=rank)
    # The same LEI under rows of one domain in two batches is no duplicate.
    for batch in ("dup 1", "dup 2"):
        rows.candidate(rows.domain("twice.example", batch_id=batch), rank_position=1)


def add_numbers_and_times(rows: Builder) -> None:
    """NaN, infinities, zeros, denormals, extreme integers and times. Extreme scores each in a batch of their own.

    (An average over values that cancel each other depends on the order of summation.)
    """
    for number, real in enumerate(REALS):
        host = rows.domain(confidence_score=real, batch_id=f"real {number}")
        scores = dict.fromkeys((name for name, kind in GLEIF_CANDIDATES.items() if kind == REAL), real)
        rows.candidate(host, **scores)
        rows.candidate(host, legal_name=None, **scores)
        rows.domain("", confidence_score=real)
    for value in ("NaN", "Infinity", "-Infinity"):
        rows.domain(confidence_score=value, batch_id="nothing finite")
    for zero in ("0", "-0"):
        rows.domain("zero.example", confidence_score=zero, batch_id=f"zero {zero}")
    for time in TIMESTAMPS:
        times = dict.fromkeys((name for name, kind in DOMAINS.items() if kind == TIMESTAMP), time)
        host = rows.domain("time.example", batch_id="times", **times)
        rows.candidate(host, make_lei("TIME00000000000001"), created_at=time)
        rows.candidate(host, make_lei(f"TIME1{TIMESTAMPS.index(time):013d}"), created_at=time)
        rows.candidate(host, None, created_at=time)
        rows.domain(batch_id=None, **times)
    for number, value in enumerate(INTS):
        integers = dict.fromkeys((name for name, kind in DOMAINS.items() if kind == INT and name != "id"), value)
        rows.domain(batch_id=f"integers {number % 2}", **integers)
        rows.domain(None, **integers)


def add_ids(rows: Builder) -> None:
    """Ids at both ends of int4, 0, 1 and negative ones, each with candidates whose ids are as extreme."""
    for number, extreme in enumerate((INT_MIN, -50_001, -50_000, -101, -100, -1, 0, 1, 99, 100, 50_000, INT_MAX)):
        rows.domain(f"id{number}.example", id=extreme, batch_id="ids")
        rows.candidate(extreme, id=extreme, rank_position=1)
        rows.candidate(extreme, make_lei(f"IDS{number:015d}"), rank_position=1)
        rows.candidate(extreme, rank_position=1)


def add_wide_ids(rows: Builder) -> None:
    """Ids of both tables beyond int4 (the tables must have int8 ids): at both ends of int8, around 2^62 and 2^31.

    What rank order and the best and latest row are decided by is equal in many rows, so that the ids decide.
    """
    extremes = (ID_MIN, -(2**62) - 1, -(2**62), INT_MIN - 1, -1, 0, INT_MAX + 1, 2**53 + 1, 2**62, 2**62 + 1, ID_MAX)
    for number, extreme in enumerate(extremes):
        rows.domain(f"wide{number % 3}.example", id=extreme, batch_id=f"wide {number % 2}", company_name=str(extreme))
        rows.candidate(extreme, id=extreme, legal_name=f"latest by id {extreme}", rank_position=1)
        for place, rank in enumerate((INT_MAX, None, INT_MIN, 1, 0)):
            wide = rows.next_candidate + (2**62 if place % 2 else -(2**62))
            lei = make_lei(f"WIDE{place:014d}")
            rows.candidate(extreme, lei, id=wide, rank_position=rank, legal_name=f"latest by id {wide}")
            rows.next_candidate += 1
        # A duplicate of the first, before it or after it by its id.
        rows.candidate(extreme, id=(-1) ** number * 7_000_000_000 - number, rank_position=1)
    for orphan in (ID_MIN + 1, ID_MAX - 1):
        rows.candidate(orphan, id=orphan)
    rows.domain(None, id=ID_MAX - 2)
    rows.candidate(ID_MAX - 2, id=ID_MAX - 2)


def add_batches(rows: Builder) -> None:
    """One domain twice in a batch and in several; ties for the best row and for the order of its LEIs."""
    early, late = "2025-06-24 03:01:05.39", "2025-07-01 00:00:00"
    results: list[Row] = [
        {"status": "failed", "final_confidence": 99, "processed_at": late},
        {"status": "success", "final_confidence": None, "confidence_score": 90, "processed_at": early},
        {"status": "success", "final_confidence": 90, "confidence_score": 10, "processed_at": early},
        {"status": "success", "final_confidence": 90, "processed_at": None},
        {"status": "Success", "final_confidence": 100, "processed_at": late},
        {"status": "success ", "final_confidence": 100},
        {"status": "pending"},
        {"status": "processing"},
        {"status": "cancelled"},
        {"status": "success", "confidence_score": "NaN", "processed_at": "infinity"},
    ]
    for name, count in (("best1.example", 10), ("best2.example", 4), ("best3.example", 1)):
        for number, result in enumerate(results[:count]):
            host = rows.domain(
                name if number % 2 else name.upper(),
                batch_id=f"best {number // 2}",
                company_name=f"{name} {number}",
                created_at=early if number else late,
                manual_review_required=[True, False, None][number % 3],
                processing_time_ms=number * 10 or None,
                primary_lei_code=LEI if number % 2 else " ",
                **result,
            )
            for place in range(number % 4 + 1):
                rows.candidate(
                    host,
                    make_lei(f"BEST{(number + place) % 5:014d}"),
                    rank_position=[1, 2, None, 3][place],
                    legal_name=f"{name} {number} {place}",
                    jurisdiction=["NA", "NO", "", None][(number + place) % 4],
                    entity_status=["ACTIVE", "INACTIVE", "NULL", None, "active"][(number + place) % 5],
                    created_at=[early, None, late][(number * place) % 3],
                    is_primary_selection=[True, None, False][place % 3],
                )
    for _ in range(3):
        rows.domain("same.example", batch_id="same", company_name="twice in a batch, all else equal")


def add_jurisdictions(rows: Builder) -> None:
    """`NA`, `NO`, empty, NULL, and texts that look like the name NULL is counted under."""
    host = rows.domain()
    for number, code in enumerate(["NA", "NO", "", None, "unknown", "UNKNOWN", "US-DE", " ", "null", "e\u0301", None]):
        rows.candidate(
            host,
            make_lei(f"JUR{number:015d}"),
            jurisdiction=code,
            rank_position=number,
            entity_status=["ACTIVE", "active", None, "", "NULL"][number % 5],
            is_primary_selection=[True, False, None][number % 3],
        )


def add_leis(rows: Builder) -> None:
    """Codes that are valid, nearly valid, and nothing like it."""
    host = rows.domain(primary_lei_code=LEI)
    for number, code in enumerate(ODD_LEIS):
        rows.candidate(host, code, rank_position=number // 2)


def add_many_candidates(rows: Builder) -> None:
    """One domain with 3,000 candidates, ranks tied and NULL."""
    host = rows.domain("three.thousand.example")
    for number in range(3000):
        rank = None if number % 7 == 0 else number * 7919 % 1000
        rows.candidate(
            host, make_lei(f"MANY{number:014d}"), rank_position=rank, jurisdiction="US" if number % 2 else None
        )


def add_full_rows(rows: Builder) -> None:
    """A row of each table with all 52 and 21 known columns filled, good and rejected."""
    filled = [
        {name: _filled(name, kind, number) for number, (name, kind) in enumerate(columns.items())}
        for columns in (DOMAINS, GLEIF_CANDIDATES)
    ]
    for bad in ({}, {"domain": "\u3000"}):
        number = rows.domain()
        rows.domains[-1] = {**filled[0], "domain": "Full.Example", **bad, "id": number}
        for code in (LEI, LEI, " "):
            place = rows.candidate(number, code)
            rows.candidates[-1] = {**filled[1], "id": place, "domain_id": number, "lei_code": code}


def _filled(name: str, kind: str, number: int) -> Any:
    values: dict[str, Any] = {
        INT: 1000 + number,
        REAL: f"{number}.3",
        BOOL: number % 2 == 0,
        TIMESTAMP: f"2025-06-{number % 28 + 1:02d} 03:01:05.{number:06d}",
    }
    return values.get(kind, f'{name} "é"; {number}')


TOPICS: dict[str, Callable[[Builder], None]] = {
    "texts": add_texts,
    "white_space": add_white_space,
    "case": add_case,
    "missing": add_missing,
    "orphans": add_orphans,
    "ranks": add_ranks,
    "duplicates": add_duplicates,
    "numbers_and_times": add_numbers_and_times,
    "ids": add_ids,
    "batches": add_batches,
    "jurisdictions": add_jurisdictions,
    "leis": add_leis,
    "many_candidates": add_many_candidates,
    "full_rows": add_full_rows,
}
# Only for tables with int8 ids (`WIDE_IDS` of oracle/source.py).
WIDE_TOPICS: dict[str, Callable[[Builder], None]] = {"wide_ids": add_wide_ids}


def hostile_rows(*topics: str) -> Builder:
    """Rows of the named topics (default: all), both tables in scattered physical order."""
    rows = Builder()
    for topic in topics or TOPICS:
        (TOPICS | WIDE_TOPICS)[topic](rows)
    scatter = random.Random(SCATTER_SEED)  # noqa: S311
    scatter.shuffle(rows.domains)
    scatter.shuffle(rows.candidates)
    return rows


def insert_hostile(conn: psycopg.Connection[Any], *topics: str) -> Builder:
    """Insert the hostile rows of the named topics (default: all) into both tables; what was inserted."""
    rows = hostile_rows(*topics)
    insert_source(conn, rows.domains, rows.candidates)
    return rows
