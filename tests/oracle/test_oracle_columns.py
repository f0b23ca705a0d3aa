"""The oracle's computed columns against python-stdnum and Python's own text functions."""

import csv
import gzip
import re
from pathlib import Path

import pytest
from stdnum import lei as stdnum_lei

from tests.hostile import hostile_rows
from tests.hostile_values import LEI, ODD_LEIS, TRIMMED
from tests.oracle.kit import APPLE, CISCO, Connection, candidate, computed, domain, md5
from tests.oracle.source import insert_source

pytestmark = [pytest.mark.integration, pytest.mark.fast]


def test_normalized_domain_is_what_python_makes_of_it(conn: Connection) -> None:
    """Python's lower() has the final sigma too, and its strip() takes any set: a second opinion."""
    white = "".join(TRIMMED)
    assert len(TRIMMED) == 25
    insert_source(conn, hostile_rows().domains, [])
    rows = computed(conn, "domain_exports").select("domain", "domain_hash")
    assert rows.height > 200
    for text, found in rows.iter_rows():
        assert found == md5(text.strip(white).lower()), ascii(text)[:200]
    unique = computed(conn, "unique_domains").select("domain", "domain_hash")
    assert unique["domain_hash"].to_list() == [md5(text) for text in unique["domain"]]


def by_arithmetic(code: str) -> bool:
    if not re.fullmatch(r"[A-Z0-9]{18}[0-9]{2}", code, re.ASCII):
        return False
    return int("".join(str(int(letter, 36)) for letter in code)) % 97 == 1


def test_is_valid_lei_agrees_with_stdnum(conn: Connection, shared_data: Path) -> None:
    with gzip.open(shared_data / "lei_records.csv.gz", "rt", encoding="utf-8", newline="") as file:
        codes = [row["lei_code"] for row in csv.DictReader(file)]
    codes = codes[::25] + [code for code in codes if code.isdigit() or re.fullmatch(r"\d+E\d+", code)]
    with (shared_data / "lei_rejected.csv").open(encoding="utf-8", newline="") as file:
        codes += [row["lei_code"] for row in csv.DictReader(file)]
    codes += [code[:7] + code[8] + code[7] + code[9:] for code in codes[::3]]
    codes = list(dict.fromkeys([*codes, LEI]))
    insert_source(conn, [domain(1, "a")], [candidate(number, 1, code) for number, code in enumerate(codes)])
    found = dict(computed(conn, "candidate_exports").select("lei_code", "is_valid_lei").iter_rows())
    assert found == {code: stdnum_lei.is_valid(code) for code in codes}
    assert set(found.values()) == {True, False}
    assert found == dict(computed(conn, "entities").select("lei_code", "is_valid_lei").iter_rows())


def test_is_valid_lei_of_odd_codes(conn: Connection) -> None:
    insert_source(conn, [domain(1, "a")], [candidate(number, 1, code) for number, code in enumerate(ODD_LEIS)])
    found = dict(computed(conn, "candidate_exports").select("lei_code", "is_valid_lei").iter_rows())
    assert found == {code: by_arithmetic(code) for code in ODD_LEIS}
    valid = [APPLE, CISCO, "300300E1000862000093", "00000000000000000098", "00000000000000000001"]
    assert sorted(code for code, is_valid in found.items() if is_valid) == sorted(valid)
