"""Hostile rows of both source tables, by topic, and seeded random ones. The same on every run."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import psycopg

from tests.oracle.expected import BOOL, DOMAINS, GLEIF_CANDIDATES, INT, REAL, TIMESTAMP
from tests.oracle.source import Row, insert_source

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
ID_MIN, ID_MAX = -(2**63), 2**63 - 1
SCATTER_SEED = 20261123

# DESIGN 4: what is trimmed, and what looks like it but is not.
TRIMMED = [
    *"\t\n\v\f\r \u00a0\u1680",
    *map(chr, range(0x2000, 0x200B)),
    *"\u2028\u2029\u202f\u205f\u3000\ufeff",
]
NOT_TRIMMED = [*"\x1c\x1d\x1e\x1f\u0085\u00ad\u180e\u200b\u200c\u200d\u200e\u2060\u3164\u0001\u007f"]

CASED = [
    "EXAMPLE.COM",
    "\u0391\u03a3",  # final sigma
    "\u0391\u03a3.GR",  # a full stop is passed over: not final
    "\u0391\u03a3-\u0392\u03a3",  # a hyphen is not: both final
    "\u03a3",  # nothing cased before it: not final
    "\u03a3\u03a3\u03a3",
    "1\u03a3",
    "A\u0301\u03a3\u0301",  # combining marks are passed over
    "\u0391\u03a3\u03c3",
    "\u0130STANBUL",  # becomes two code points
    "I\u0131",
    "STRA\u1e9eE.DE",
    "\u01c5",
    "\u01c4\u01c7\u01ca",
    "\u212aelvin",
    "\u212bngstr\u00f6m",
    "\u2126",
    "\U00010400\U00010427",  # Deseret
    "\u13a0\uab70",  # Cherokee
    "\u1c90\u10d0\u10a0",  # Georgian: Mtavruli and Asomtavruli have lower case
    "\u24b6\u2160",
    "\uff21.\uff23",
    "\u1f88\u1fbc",
    "XN--MNCHEN-3YA.DE",
    "M\u00dcNCHEN.DE",
    "MU\u0308NCHEN.DE",
]

HOSTILE_TEXTS = [
    "A; B",
    "; ",
    ";",
    '"quoted" and "" twice',
    "it's",
    "back\\slash \\N \\. \\\\",
    "line\nbreak",
    "carriage\r\nreturn\r",
    "tab\there",
    "NULL",
    "null",
    "\\N",
    "NaN",
    "None",
    "{}",
    '{"a": [1, null]}',
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\uff1d1",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f1f3\U0001f1f4",
    "\u202bחברה בע\u05f4מ\u202c \u200fشركة\u200e Ltd",
    "\u2066isolated\u2069",
    "e\u0301",
    "\u00e9",
    "z\u0351\u0352\u0353\u0354algo",
    "株式会社\u3000日本 ｶﾌﾞｼｷ",
    "ក្រុមហ៊ុន",
    "\u0001\u0002\u001f\u007f\u0080",
    "\u2028line\u2029separators",
    "\ufffd\uffff\U0010ffff",
    "\ud7ff\ue000",
    " leading and trailing ",
    "\u00a0nbsp\u00a0",
    "30",
    "1e5",
    "0x10",
    "true",
    "2025-01-01",
    "%s %(x)s {0} $1 :x ? --",
    "<script>alert(1)</script>",
    "'; DROP TABLE domains; --",
]
BLANKS: list[str | None] = [None, "", " ", "\t\r\n", "\u00a0\u3000\ufeff", "\u2028"]

REALS = ["NaN", "Infinity", "-Infinity", "0", "-0", "1e-45", "-1e-45", "1.17549435e-38", "1e-40", "3.4028235e38"]
REALS += ["-3.4028235e38", "85.3", "0.1", "16777216", "16777217", "33.333332"]
TIMESTAMPS = [
    "infinity",
    "-infinity",
    "0001-01-01 00:00:00",
    "9999-12-31 23:59:59.999999",
    "10000-01-01 00:00:00",
    "200000-06-01 12:00:00.000001",
    "0001-12-31 23:59:59.999999 BC",
    "0002-02-28 01:02:03 BC",
    "0044-03-15 12:34:56.789 BC",
    "4713-11-24 00:00:00 BC",
    "1969-12-31 23:59:59.999999",
    "1970-01-01 00:00:00",
    "1582-10-10 00:00:00",
    "1900-02-28 23:59:59.5",
    "2024-02-29 23:59:59.000001",
    "2038-01-19 03:14:08",
]
INTS = [INT_MIN, -1, 0, 1, INT_MAX, None]


def make_lei(body: str) -> str:
    """The valid LEI of an 18-character body, check digits by ISO 7064 MOD 97-10."""
    digits = "".join(str(int(letter, 36)) for letter in body + "00")
    return f"{body}{98 - int(digits) % 97:02d}"


LEI = make_lei("5493001KJTIIGC8Y1R")
ODD_LEIS = [
    "HWUPKR0MPOU8FGXBT394",  # valid
    "13250000000000000107",  # digits only, real
    "300300E1000862000093",  # reads as a floating point number, real
    "335800CBJHTFQR5FCM79",  # wrong check digits
    "HWUPKR0MPOU8FGXBT393",
    "HWUPKR0MPOU8FGXBT349",
    "hwupkr0mpou8fgxbt394",  # lower case
    "HWUPKR0MPOU8FGXBT39",  # 19
    "HWUPKR0MPOU8FGXBT3940",  # 21
    "HWUPKR0MPOU8FGXBT394\n",
    "HWUPKR0MPOU8FGXBT39\n",
    "\nHWUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT394\nHWUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT394 ",
    " HWUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT3\uff19\uff14",  # full-width digits, 20 characters
    "HWUPKR0MPOU8FGXBT3\u0669\u0664",  # Arabic-Indic digits
    "\uff28WUPKR0MPOU8FGXBT394",
    "HWUPKR0MPOU8FGXBT\u212a94",
    "HWUPKR0MPOU8FGXB\u00e994",  # 20 bytes, 19 characters
    "HWUPKR-MPOU8FGXBT394",
    "00000000000000000098",  # 98 % 97 = 1: valid by DESIGN 4.2
    "00000000000000000001",
    "00000000000000000000",
    "98",
    "1",
    "NULL",
    "A; B",
    "\u0085",
    "\u200b",
]

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


def insert_hostile(conn: psycopg.Connection[Any], *topics: str, schema: str = "public") -> Builder:
    """Insert the hostile rows of the named topics (default: all) into both tables; what was inserted."""
    rows = hostile_rows(*topics)
    insert_source(conn, rows.domains, rows.candidates, schema)
    return rows


def random_rows(seed: int, n: int, *, rate: float = 0.15) -> tuple[list[Row], list[Row]]:
    """`n` rows of `domains` and their candidates, all oddities mixed in at `rate`; the same for the same arguments."""
    chance = random.Random(seed)  # noqa: S311
    domain_ids = chance.sample(range(1, 3 * n + 2), n)
    domains = [_random_domain(chance, number, n, rate) for number in domain_ids]
    owners: list[int | None] = []
    for number in domain_ids:
        owners += [number] * chance.choice([0, 0, 1, 2, 3, 5, 12])
    for _ in range(int(n * rate)):
        owners.append(chance.choice([None, 3 * n + 10, -1, *domain_ids[:2]]))
    chance.shuffle(owners)
    ids = chance.sample(range(1, 3 * len(owners) + 2), len(owners))
    pool = [make_lei(f"POOL{number:014d}") for number in range(max(6, n // 2))]
    candidates = [
        _random_candidate(chance, number, owner, pool, rate) for number, owner in zip(ids, owners, strict=True)
    ]
    return domains, candidates


def _random_domain(chance: random.Random, number: int, n: int, rate: float) -> Row:
    odd = _Odd(chance, rate)
    name = f"site{chance.randrange(max(2, n // 2))}.example"
    name = odd.pick(name, [name.upper(), name.title(), f" {name}", f"{name}{chance.choice(TRIMMED)}", *CASED])
    return {
        "id": number,
        "domain_hash": odd.pick(None, ["0" * 32, ""]),
        "domain": odd.pick(name, [*BLANKS, f"{chance.choice(NOT_TRIMMED)}{name}", *HOSTILE_TEXTS], divisor=4),
        "status": odd.pick(chance.choice(["success", "failed", "pending", "processing"]), [*BLANKS, "done"], divisor=4),
        "batch_id": odd.pick(f"batch-{chance.randrange(5)}", [*BLANKS, "-batch/1"], divisor=4),
        "company_name": odd.pick(f"Company {number}", [None, *HOSTILE_TEXTS]),
        "confidence_score": odd.pick(str(chance.randrange(100)), ["NaN", "Infinity", "-Infinity", "-0", "85.3", None]),
        "final_confidence": chance.choice([None, None, 50, 90, 90]),
        "created_at": odd.pick(_random_time(chance), [None, *TIMESTAMPS]),
        "processed_at": odd.pick(_random_time(chance), [None, *TIMESTAMPS]),
        "processing_time_ms": chance.choice([None, 0, chance.randrange(100_000)]),
        "primary_lei_code": odd.pick(None, [LEI, "", " ", "NULL"]),
        "manual_review_required": chance.choice([True, False, None]),
        "guessed_country": odd.pick("NO", [None, "", *HOSTILE_TEXTS]),
        "retry_count": odd.pick(0, INTS),
    }


def _random_candidate(chance: random.Random, number: int, owner: int | None, pool: list[str], rate: float) -> Row:
    odd = _Odd(chance, rate)
    few = pool[:6] if chance.random() < 0.5 else pool
    return {
        "id": number,
        "domain_id": owner,
        "lei_code": odd.pick(chance.choice(few), [*BLANKS, *ODD_LEIS], divisor=3),
        "legal_name": odd.pick(f"Entity {number}", [*BLANKS, *HOSTILE_TEXTS], divisor=2),
        "rank_position": odd.pick(chance.randrange(1, 6), INTS),
        "jurisdiction": odd.pick(chance.choice(["US", "NO", "NA", "DE"]), [None, "", "unknown", *HOSTILE_TEXTS]),
        "entity_status": odd.pick("ACTIVE", [None, "", "NULL", "INACTIVE", *HOSTILE_TEXTS]),
        "registration_status": odd.pick("ISSUED", [None, "", "LAPSED"]),
        "weighted_score": odd.pick(str(chance.randrange(100)), [None, *REALS]),
        "is_primary_selection": chance.choice([True, False, None]),
        "created_at": odd.pick(_random_time(chance), [None, *TIMESTAMPS]),
        "gleif_full_data": odd.pick(None, HOSTILE_TEXTS),
    }


def _random_time(chance: random.Random) -> str:
    # Few distinct values, so that ties are common.
    return f"2025-06-{chance.randrange(1, 9):02d} 03:01:05.{chance.choice(['5', '000001', '999999'])}"


@dataclass(frozen=True)
class _Odd:
    chance: random.Random
    rate: float

    def pick(self, usual: Any, odd: list[Any], *, divisor: int = 1) -> Any:
        """The usual value, or at the rate (over the divisor) an odd one."""
        return self.chance.choice(odd) if self.chance.random() < self.rate / divisor else usual
