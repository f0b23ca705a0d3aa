"""Rows of both source tables and of the exports, written by hand, and what the oracle computes."""

import hashlib
from datetime import datetime
from typing import Any

import polars as pl
import psycopg

from tests.oracle import expected
from tests.oracle.compare import Expected, oracle_frame
from tests.oracle.source import Row

Connection = psycopg.Connection[Any]
APPLE, INTEL, CISCO = "HWUPKR0MPOU8FGXBT394", "KNX4USFCNGPY45LOCE31", "13250000000000000107"
JUNE, JULY, AUGUST = datetime(2025, 6, 1), datetime(2025, 7, 1, 1, 2, 3, 4), datetime(2025, 8, 1)  # noqa: DTZ001


def rows_of(name: str, *rows: Row) -> pl.DataFrame:
    """Hand-written rows of a table; columns that a row does not name are NULL."""
    schema = expected.SCHEMAS[name]
    assert all(set(row) <= set(schema) for row in rows)
    return pl.DataFrame([{column: row.get(column) for column in schema} for row in rows], schema=schema)


def computed(conn: Connection, name: str) -> pl.DataFrame:
    return oracle_frame(conn, Expected(name))


def domain(number: int, name: str | None, batch: str | None = "b1", status: str | None = "success", **more: Any) -> Row:
    return {"id": number, "domain": name, "batch_id": batch, "status": status, **more}


def candidate(number: int, owner: int | None, code: str | None, name: str | None = "N", **more: Any) -> Row:
    return {"id": number, "domain_id": owner, "lei_code": code, "legal_name": name, **more}


def md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


NO_CANDIDATES = {
    "all_lei_codes": "",
    "all_legal_names": "",
    "all_jurisdictions": "",
    "all_entity_statuses": "",
    "lei_codes": [],
}
