"""Reals, and times, as PostgreSQL prints them: both spellings (Python's and the SQL macro) against the server."""

import struct
from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.query.batch.expressions import MACROS, RARE_REAL, real_text
from tests.oracle.postgres import Cluster

pytestmark = [pytest.mark.integration, pytest.mark.fast]

REALS = st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1, max_size=400)
# What scores look like.
SCORES = st.lists(
    st.integers(0, 100_000).map(lambda n: struct.unpack("f", struct.pack("f", n / 100))[0]), min_size=1, max_size=400
)


# What computed scores look like: all the digits that a real has.
COMPUTED = st.lists(st.floats(0.0009765625, 1048576, width=32), min_size=1, max_size=400)


@pytest.fixture(scope="module")
def server(cluster: Cluster) -> Iterator[psycopg.Connection[Any]]:
    with cluster.new_database() as database, database.connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def session() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(":memory:") as connection:
        connection.create_function(RARE_REAL, real_text, ["FLOAT"], "VARCHAR")
        for macro in MACROS:
            connection.execute(macro)
        yield connection


def assert_alike(values: list[float], server: psycopg.Connection[Any], session: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT x::float4::text FROM unnest(%s::float8[]) WITH ORDINALITY AS t (x, n) ORDER BY n"
    wanted = [row[0] for row in server.execute(query, [values])]
    assert [real_text(value) for value in values] == wanted
    texts = session.execute("SELECT list_transform($x::FLOAT[], lambda x: real_text(x))", {"x": values}).fetchall()
    assert texts[0][0] == wanted


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(values=REALS | SCORES | COMPUTED)
def test_any_real(values: list[float], server: psycopg.Connection[Any], session: duckdb.DuckDBPyConnection) -> None:
    assert_alike(values, server, session)


def test_reals_where_the_rule_changes(server: psycopg.Connection[Any], session: duckdb.DuckDBPyConnection) -> None:
    twos = np.array([sign * 2.0**power for sign in (1, -1) for power in range(-149, 128)], np.float32)
    tens = np.array([float(f"{m}e{power}") for m in (1, 9.999999, 1.000001, 5) for power in range(-45, 38)], np.float32)
    ties = np.array([0.271484375, 1.22265625, 2.08203125, 85.3, 16777216, 33554440, 1e6, 999999.94, -0.0], np.float32)
    chosen = np.concatenate([twos, tens, ties])
    with np.errstate(over="ignore"):
        chosen = np.concatenate([chosen, np.nextafter(chosen, np.float32(np.inf)), np.nextafter(chosen, -chosen)])
    assert_alike([float(value) for value in chosen if np.isfinite(value)], server, session)


def test_thirty_thousand_bit_patterns(server: psycopg.Connection[Any], session: duckdb.DuckDBPyConnection) -> None:
    bits = np.random.default_rng(20261123).integers(0, 2**32, 30_000, dtype=np.uint32)
    values = bits.view(np.float32)
    assert_alike([float(value) for value in values if np.isfinite(value)], server, session)


@pytest.mark.parametrize(
    ("time", "text"),
    [
        ("2025-06-24 03:01:05.390999", "2025-06-24T03:01:05.390Z"),
        ("1969-12-31 23:59:59.999999", "1969-12-31T23:59:59.999Z"),
        ("0001-01-01 00:00:00", "0001-01-01T00:00:00.000Z"),
        ("0001-12-31 (BC) 23:59:59.999999", "0000-12-31T23:59:59.999Z"),
        ("0044-03-15 (BC) 12:34:56.789", "-000043-03-15T12:34:56.789Z"),
        ("10000-01-01 00:00:00", "+010000-01-01T00:00:00.000Z"),
        (None, None),
    ],
)
def test_times_are_what_javascript_writes(
    time: str | None, text: str | None, session: duckdb.DuckDBPyConnection
) -> None:
    assert session.execute("SELECT time_text($x::TIMESTAMP)", {"x": time}).fetchall() == [(text,)]


@pytest.mark.parametrize(
    ("text", "is_formula"),
    [
        ("=1", True),
        ("+1", True),
        ("-1", True),
        ("@a", True),
        ("\tx", True),
        ("\rx", True),
        ("\nx", True),
        ("\uff1d1", True),
        ("\uff0b1", True),
        ("\uff0d1", True),
        ("\uff201", True),
        ("\ufe661", True),
        (" =1", True),
        ("\u00a0\u200b=1", True),
        ("\v\f=1", True),
        ("\ufeff@a", True),
        ("a=1", False),
        (" a", False),
        ("", False),
        ("'=1", False),
        ("\u2212x", False),
        ("1-1", False),
        ("株式会社", False),
    ],
)
def test_what_a_spreadsheet_would_run(text: str, is_formula: bool, session: duckdb.DuckDBPyConnection) -> None:  # noqa: FBT001
    harmless = session.execute("SELECT harmless($x)", {"x": text}).fetchall()[0][0]
    assert harmless == (f"'{text}" if is_formula else text)
