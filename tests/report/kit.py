"""Hand-written snapshots for the report: ordinary, empty and hostile tables, their manifests; a reader of its HTML."""

from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any

import polars as pl

from pipelines.contracts.records import (
    CheckRecord,
    FileRecord,
    Manifest,
    RelationRecord,
    SourceRecord,
    TableRecord,
)
from pipelines.contracts.tables import published_tables
from tests.publish.rows import rows_of

TABLES = {table.name: table for table in published_tables(include_full_data=False)}
AT = datetime(2026, 11, 23, 6, 59, 32, tzinfo=UTC)
VALID, OTHER_VALID, INVALID = "HWUPKR0MPOU8FGXBT394", "5493001KJTIIGC8Y1R12", "HWUPKR0MPOU8FGXBT395"
SCRIPT = "<script>alert(1)</script>"
HOSTILE = (
    SCRIPT,
    '"><img src=https://evil.example/x onerror=alert(1)>',
    "</svg></style></title><iframe src=//evil.example>",
    "&lt;b&gt; &amp; ' \"",
    "\u202egnp.exe\u2066\u200f",
    "\u05d0\u05d1\u05d2 \u0645\u0631\u062d\u0628\u0627",
    "Z" + "\u0335\u0336\u0337" * 300,
    "W" * 100_000,
    "W" * 99_999,
    "",
    "   \t\n",
    "\x00\x07\x1b[31m",
    "\U0001f3e6 \u4e2d\u6587\u4e2d\u6587\u4e2d\u6587\u4e2d\u6587\u4e2d\u6587",
    "others",
    "(none)",
    "](javascript:alert(1))",
    "{{7*7}} ${7*7} url(https://evil.example)",
)
Frames = dict[str, pl.DataFrame]


def frames_of(domains: list[dict[str, Any]], candidates: list[dict[str, Any]], rejects: list[dict[str, Any]]) -> Frames:
    rows = {"domain_exports": domains, "candidate_exports": candidates, "rejected_rows": rejects}
    return {name: rows_of(TABLES[name], rows[name]) for name in rows}


def ordinary() -> Frames:
    """Three batches, every status, every kind of primary, scores in and out of range, two tables of rejects."""
    at = datetime(2026, 3, 2, 8, 0, 0)  # noqa: DTZ001  tables are UTC without zone
    domains = [
        {
            "domain_id": number,
            "batch_id": f"batch-{number % 3}",
            "status": ("success", "success", "failed", "pending", "processing", "odd")[number % 6],
            "created_at": None if number == 7 else at + timedelta(hours=number),
            "confidence_score": (None, 0.0, 4.9, 5.0, 99.9, 100.0, 100.5, -1.0)[number % 8],
            "gleif_candidate_count": (0, 1, 2, 30)[number % 4],
            "primary_lei_code": (None, VALID, INVALID, OTHER_VALID, "  ")[number % 5],
        }
        for number in range(1, 41)
    ]
    candidates = [
        {
            "candidate_id": number,
            "domain_id": number % 40 + 1,
            "lei_code": (VALID, INVALID)[number // 40],
            "is_valid_lei": number < 40,
            "jurisdiction": f"US-{number:02d}" if number % 4 else ("DE", None)[number % 8 // 4],
            "entity_status": ("ACTIVE", "ACTIVE", "INACTIVE", None)[number % 4],
            "registration_status": ("ISSUED", "LAPSED", None)[number % 3],
        }
        for number in range(80)
    ]
    rejects = [
        {
            "source_table": ("domains", "gleif_candidates")[number % 2],
            "source_id": number,
            "reason": ("missing_domain", "duplicate_candidate", "orphan_candidate")[number % 3],
        }
        for number in range(7)
    ]
    return frames_of(domains, candidates, rejects)


def batches(**success: int | None) -> pl.DataFrame:
    """batch_summaries: a batch with so many domain rows that succeeded, None with one that failed."""
    rows = [
        {"batch_id": name, "result_count": count or 1, "success_count": count or 0, "failed_count": int(count is None)}
        for name, count in success.items()
    ]
    return rows_of(TABLES["batch_summaries"], rows)


def empty() -> Frames:
    return frames_of([], [], [])


def hostile() -> Frames:
    """Every text that a chart shows is hostile, and every time and number at its end."""
    times = [None, datetime(1, 1, 1), datetime(9999, 12, 31, 23), datetime(1970, 1, 1)]  # noqa: DTZ001
    domains = [
        {
            "domain_id": number,
            "batch_id": text,
            "status": text,
            "created_at": times[number % 4],
            "confidence_score": (float("nan"), float("inf"), -3.0e38, None)[number % 4],
            "gleif_candidate_count": 2**32 - 1 if number else 0,
            "primary_lei_code": text,
        }
        for number, text in enumerate(HOSTILE)
    ]
    candidates = [
        {
            "candidate_id": number,
            "domain_id": number,
            "lei_code": text,
            "is_valid_lei": True,
            "jurisdiction": text,
            "entity_status": text,
            "registration_status": text,
        }
        for number, text in enumerate(HOSTILE)
    ]
    rejects = [{"source_table": text, "source_id": n, "reason": text} for n, text in enumerate(HOSTILE)]
    return frames_of(domains, candidates, rejects)


def lazy(frames: Frames) -> dict[str, pl.LazyFrame]:
    return {name: frame.lazy() for name, frame in frames.items()}


def manifest_of(frames: Frames, **changes: Any) -> Manifest:
    """A manifest of these tables, with a passed check, a warning and timings."""
    relation = RelationRecord(columns=(), absent=(), unknown=(), rows=40)
    source = SourceRecord(
        identity="7711307137820363992/app/public",
        server_version="18.4",
        wal_position="0/1",
        snapshot_at=AT,
        relations={"domains": relation},
    )
    warning = CheckRecord(
        table="domain_exports", name="source_hash_agrees", passed=False, severity="warn", metadata={"rows_differ": 1}
    )
    passed = CheckRecord(table="snapshot", name="rows_reconcile", passed=True, severity="error", metadata={"rows": 40})
    tables = tuple(
        TableRecord(
            name=name,
            staging_id="s",
            contract_version="1.0.0",
            rows=frame.height,
            files=(),
            checks=(warning,) if name == "domain_exports" else (),
            timings_s={},
        )
        for name, frame in frames.items()
    )
    fields: dict[str, Any] = {
        "id": "20261123T065932Z-1f3a9c2e",
        "sequence": 2,
        "created_at": AT,
        "contract_version": "1.0.0",
        "source": source,
        "segment_size": 50_000,
        "include_full_data": False,
        "tables": tables,
        "database": FileRecord(path="exports.duckdb", segment=None, rows=0, bytes=0, sha256=""),
        "checks": (passed,),
        "versions": {"polars": "2.1.0"},
        "timings_s": {
            "stage_read": 1.5,
            "build_validate": 0.25,
            "build_domain_exports_write": 0.5,
            "publish_verify": 130,
        },
        **changes,
    }
    return Manifest(**fields)


VOID = {"meta", "link", "br", "hr", "img", "input"}


class Page(HTMLParser):
    """What a test wants to know of a page; it fails on tags that don't match.

    Attributes:
        tags: Every tag with its attributes.
        tables: Rows of cells, the header first, by id of the card that the table is in (else by its caption).
        labels: aria-label of the drawing in each card.
        texts: Text outside style.
    """

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: dict[str, list[list[str]]] = {}
        self.labels: dict[str, str] = {}
        self.texts: list[str] = []
        self._open: list[str] = []
        self._card = ""
        self._rows: list[list[str]] = []
        self.feed(page.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        assert len(attributes) == len(attrs), f"an attribute twice: {tag} {attrs}"
        self.tags.append((tag, attributes))
        if tag not in VOID:
            self._open.append(tag)
        if tag == "article":
            self._card = attributes["id"] or ""
        if tag == "svg":
            self.labels[self._card] = attributes["aria-label"] or ""
        if tag == "table":
            self._rows = []
        if tag == "tr":
            self._rows.append([])
        if tag in {"td", "th"}:
            self._rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, f"</{tag}> closes nothing"
        if tag == "article":
            self._card = ""

    def handle_data(self, data: str) -> None:
        if "style" in self._open:
            return
        self.texts.append(data)
        if "caption" in self._open:
            self.tables[self._card or data] = self._rows
        elif self._open and {"td", "th"} & set(self._open):
            self._rows[-1][-1] += data

    def numbers(self, card: str, column: int = -1) -> list[int]:
        """A column of a card's table as numbers."""
        return [int(row[column].replace(",", "")) for row in self.tables[card][1:]]
