"""Seeded random rows of both source tables, oddities mixed in. The same on every run."""

import random
from dataclasses import dataclass
from typing import Any

from tests.hostile_values import (
    BLANKS,
    CASED,
    HOSTILE_TEXTS,
    INTS,
    LEI,
    NOT_TRIMMED,
    ODD_LEIS,
    REALS,
    TIMESTAMPS,
    TRIMMED,
    make_lei,
)
from tests.oracle.source import Row

_RATE = 0.15  # of oddities


def random_rows(seed: int, n: int) -> tuple[list[Row], list[Row]]:
    """`n` rows of `domains` and their candidates, all oddities mixed in; the same for the same arguments."""
    chance = random.Random(seed)  # noqa: S311
    domain_ids = chance.sample(range(1, 3 * n + 2), n)
    domains = [_random_domain(chance, number, n) for number in domain_ids]
    owners: list[int | None] = []
    for number in domain_ids:
        owners += [number] * chance.choice([0, 0, 1, 2, 3, 5, 12])
    for _ in range(int(n * _RATE)):
        owners.append(chance.choice([None, 3 * n + 10, -1, *domain_ids[:2]]))
    chance.shuffle(owners)
    ids = chance.sample(range(1, 3 * len(owners) + 2), len(owners))
    pool = [make_lei(f"POOL{number:014d}") for number in range(max(6, n // 2))]
    candidates = [_random_candidate(chance, number, owner, pool) for number, owner in zip(ids, owners, strict=True)]
    return domains, candidates


def _random_domain(chance: random.Random, number: int, n: int) -> Row:
    odd = _Odd(chance)
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


def _random_candidate(chance: random.Random, number: int, owner: int | None, pool: list[str]) -> Row:
    odd = _Odd(chance)
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

    def pick(self, usual: Any, odd: list[Any], *, divisor: int = 1) -> Any:
        """The usual value, or at the rate (over the divisor) an odd one."""
        return self.chance.choice(odd) if self.chance.random() < _RATE / divisor else usual
