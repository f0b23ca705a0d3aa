"""Batches as PostgreSQL itself would write them, and readers of the files that we write."""

import csv
import io
import re
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import polars as pl
import psycopg

from pipelines.query.batch.batches import open_batch
from pipelines.query.batch.files import DEFAULTS, BatchFormat, BatchOptions, stream_batch
from pipelines.query.database import Reader, open_database
from pipelines.query.query_memory import QueryMemory
from pipelines.snapshots.opening import Snapshot
from tests.oracle.query import oracle_sql

# Restated by hand from the issue: header to column.
HEADER = {
    "Domain": "domain",
    "Company Name": "company_name",
    "Extraction Method": "extraction_method",
    "Confidence Score": "confidence_score",
    "Primary LEI Code": "primary_lei_code",
    "Primary GLEIF Name": "primary_gleif_name",
    "Country": "guessed_country",
    "Total GLEIF Candidates": "gleif_candidate_count",
    "All LEI Codes": "all_lei_codes",
    "All Legal Names": "all_legal_names",
    "All Jurisdictions": "all_jurisdictions",
    "All Entity Statuses": "all_entity_statuses",
    "Level 2 Status": "level2_status",
    "Level 2 Candidates Count": "level2_candidates_count",
    "Final Legal Name": "final_legal_name",
    "Final Confidence": "final_confidence",
    "Recommendation": "recommendation",
    "Processing Time (ms)": "processing_time_ms",
    "Status": "status",
    "Error Message": "error_message",
    "Failure Category": "failure_category",
    "Technical Details": "technical_details",
    "Retry Count": "retry_count",
    "Created At": "created_at",
    "Processed At": "processed_at",
}
NUMBERS = {
    "Confidence Score",
    "Total GLEIF Candidates",
    "Level 2 Candidates Count",
    "Final Confidence",
    "Processing Time (ms)",
    "Retry Count",
}
TIMES = {"Created At", "Processed At"}
# OWASP's list, full-width and small forms, also behind white space or invisible characters.
FORMULA = re.compile(r"[\t\r\n]|[\s\x00-\x1f\x7f-\x9f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff]*"
                     r"[=+@\-\uff1d\uff0b\uff0d\uff20\ufe66\ufe62\ufe63\ufe6b]")  # fmt: skip

Cells = list[list[str]]


def time_text(column: str) -> str:
    year = f"extract(year FROM {column})::int"
    astronomical = f"({year} + CASE WHEN {year} < 0 THEN 1 ELSE 0 END)"
    return (
        f"CASE WHEN {astronomical} BETWEEN 0 AND 9999 THEN lpad({astronomical}::text, 4, '0')"
        f" ELSE CASE WHEN {astronomical} < 0 THEN '-' ELSE '+' END || lpad(abs({astronomical})::text, 6, '0') END"
        f' || to_char({column}, \'-MM-DD"T"HH24:MI:SS.MS"Z"\')'
    )


def cells_in_postgres(connection: psycopg.Connection[Any]) -> dict[str, Cells]:
    """The CSV's cells of every batch as text, by SQL on the source tables."""
    texts = [time_text(name) if header in TIMES else f"{name}::text" for header, name in HEADER.items()]
    cells = ", ".join(f"coalesce({text}, '')" for text in texts)
    query = f"SELECT batch_id, {cells} FROM ({oracle_sql(connection, 'domain_exports')}) AS exported ORDER BY domain_id"
    batches: dict[str, Cells] = {}
    with connection.transaction():
        connection.execute("SET LOCAL enable_nestloop = off")
        for batch_id, *row in connection.execute(query.encode()):
            batches.setdefault(batch_id, []).append(row)
    return batches


def batch_ids(snapshot: Snapshot) -> list[str]:
    """Ids of all batches of a snapshot."""
    return sorted(snapshot.scan("domain_exports").collect()["batch_id"].unique())


def file_of(snapshot: Snapshot, batch_id: str, batch_format: str, options: BatchOptions = DEFAULTS) -> bytes:
    """A batch as a file."""
    with open_batch(snapshot, batch_id) as batch:
        return b"".join(stream_batch(batch, BatchFormat(batch_format), options))


@contextmanager
def reader_of(snapshot: Snapshot) -> Iterator[Reader]:
    """What the server reads batches with: one connection for all of them, where `open_batch` takes 20 ms for each."""
    with closing(open_database(snapshot, QueryMemory(256, "a test"))) as database, database.reader() as reader:
        yield reader


def csv_rows(content: bytes) -> Cells:
    """A CSV read by Python's csv, with its header."""
    csv.field_size_limit(1 << 24)
    return list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline=""), strict=True))


def made_harmless(cells: Cells) -> Cells:
    """Cells with `'` before what a spreadsheet would run, except numbers and times."""
    kept = [header in NUMBERS | TIMES for header in HEADER]
    return [
        [cell if keep or not FORMULA.match(cell) else f"'{cell}" for cell, keep in zip(row, kept, strict=True)]
        for row in cells
    ]


CANDIDATE_OF_DOMAIN = ("domain_id", "domain_hash", "domain", "batch_id")


def nested_frame(snapshot: Snapshot, batch_id: str) -> pl.DataFrame:
    """A batch as the snapshot's Parquet files have it: rows of domain_exports, their candidates in a list."""
    of_batch = pl.col("batch_id") == batch_id
    domains = snapshot.scan("domain_exports").filter(of_batch).collect().sort("domain_id")
    candidates = snapshot.scan("candidate_exports").filter(of_batch).collect()
    nested = (
        candidates.sort("domain_id", "rank_position", "candidate_id", nulls_last=True)
        .group_by("domain_id", maintain_order=True)
        .agg(pl.struct(pl.exclude(CANDIDATE_OF_DOMAIN)).alias("candidates"))
    )
    joined = domains.join(nested, on="domain_id", how="left", maintain_order="left")
    return joined.with_columns(pl.col("candidates").fill_null(pl.lit([], dtype=nested.schema["candidates"])))


def sample_of(exported_ids: Iterable[str], every: int) -> list[str]:
    """Some of the ids, and always those that tests are made for."""
    wanted = {"hostile-batch", "times", "ids", "integers 0", "batch of the 1 MB text", "white space"}
    ordered = sorted(exported_ids)
    return [name for number, name in enumerate(ordered) if number % every == 0 or name in wanted]
