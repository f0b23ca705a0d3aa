"""How the last snapshots compare: rows, rejected rows, warnings, time and size, by their manifests."""

from collections.abc import Sequence

import polars as pl

from pipelines.checks.results import checks_of
from pipelines.contracts.records import Manifest
from pipelines.report.charts import BLUE, YELLOW, Series, draw_bars, draw_stacked_bars
from pipelines.report.sections import Section
from pipelines.report.texts import compact, counted, format_seconds, whole

_DRAWN_TABLES = {"domain_exports": ("domain rows", BLUE), "candidate_exports": ("candidates", YELLOW)}
_MEGABYTE = 1_000_000
VALUE = "value"


def show_history(manifests: Sequence[Manifest]) -> list[Section]:
    """Charts of the last snapshots.

    Args:
        manifests: Oldest first; the last one is of the snapshot that the report is about.

    Returns:
        A section each for rows, rejected rows, warnings, time and size; none of a single snapshot.
    """
    if len(manifests) < 2:  # noqa: PLR2004  nothing to compare with
        return []
    rejects = [_rows(manifest).get("rejected_rows", 0) for manifest in manifests]
    warnings = [_warnings(manifest) for manifest in manifests]
    durations = [manifest.work_s for manifest in manifests]
    sizes = [_data_bytes(manifest) for manifest in manifests]
    return [
        _rows_section(manifests),
        _section(manifests, "rejects", "Rejected rows", rejects, [whole(n) for n in rejects]),
        _section(manifests, "warnings", "Warnings", warnings, [whole(n) for n in warnings]),
        _section(manifests, "duration", "Time to read, build and verify", durations, [*map(format_seconds, durations)]),
        _section(manifests, "size", "Size of the data", sizes, [f"{n / _MEGABYTE:,.1f} MB" for n in sizes]),
    ]


def _rows_section(manifests: Sequence[Manifest]) -> Section:
    rows = [_rows(manifest) for manifest in manifests]
    names = list(dict.fromkeys(name for counts in rows for name in counts))
    drawn = {table: named for table, named in _DRAWN_TABLES.items() if table in names}
    series = [Series(*named) for named in drawn.values()]
    values = {named: [counts.get(table, 0) for counts in rows] for table, (named, _) in drawn.items()}
    totals = [sum(column[i] for column in values.values()) for i in range(len(rows))]
    table = _whens(manifests).with_columns(
        pl.Series(name, [counts.get(name) for counts in rows], pl.Int64) for name in names
    )
    says = _trend([*map(whole, totals)], "domain rows and candidates")
    texts = [compact(total) for total in totals]
    chart = draw_stacked_bars(_labels(manifests), series, values, texts) if any(totals) else None
    return Section("history-rows", "Rows", says, chart, table)


def _section(
    manifests: Sequence[Manifest], name: str, title: str, values: Sequence[float], texts: Sequence[str]
) -> Section:
    table = _whens(manifests).with_columns(pl.Series(VALUE, texts, pl.String))
    chart = draw_bars(_labels(manifests), values, texts) if any(values) else None
    return Section(f"history-{name}", title, _trend(texts), chart, table)


def _trend(texts: Sequence[str], noun: str = "") -> str:
    """The oldest and the newest value in words."""
    what = f" {noun}" if noun else ""
    if len(set(texts)) == 1:
        return f"{texts[-1]}{what} in each of the last {counted(len(texts), 'snapshot')}."
    return f"From {texts[0]} to {texts[-1]}{what} in the last {counted(len(texts), 'snapshot')}."


def _whens(manifests: Sequence[Manifest]) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "sequence": [manifest.sequence for manifest in manifests],
            "as of, UTC": [f"{manifest.source.snapshot_at:%Y-%m-%d %H:%M:%S}" for manifest in manifests],
        }
    )


def _labels(manifests: Sequence[Manifest]) -> list[str]:
    return [f"{manifest.sequence}: {manifest.source.snapshot_at:%m-%d %H:%M}" for manifest in manifests]


def _rows(manifest: Manifest) -> dict[str, int]:
    return {table.name: table.rows for table in manifest.tables}


def _warnings(manifest: Manifest) -> int:
    return sum(not check.passed and check.severity == "warn" for check in checks_of(manifest))


def _data_bytes(manifest: Manifest) -> int:
    """Size of the tables in both formats. The report itself is not counted: it can't know its own size."""
    return manifest.bytes - sum(file.bytes for file in manifest.extras)
