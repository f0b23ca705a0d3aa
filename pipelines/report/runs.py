"""What manifests say: what changed since the one before, the time of each stage, the checks, the last snapshots."""

import json
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from pipelines.checks.results import checks_of
from pipelines.contracts.records import DRAWING_STAGE, CheckRecord, Manifest
from pipelines.report.charts import BLUE, YELLOW, Series, draw_bars, draw_differences, draw_stacked_bars
from pipelines.report.differences import MAX_COMPARED_ROWS, NAMED, RowChanges
from pipelines.report.figures import BatchChanges
from pipelines.report.sections import Section
from pipelines.report.texts import compact, counted, format_seconds, plain, signed, whole

_STAGES_DRAWN, _LABEL = 14, 24
_SEGMENTS_NAMED = 12
_MAX_CAUSE = 240
_PARTS = {"stage": "extract", "build": "build", "publish": "publish"}
VERDICTS = ("failed", "warning", "passed")
_DRAWN_TABLES = {"domain_exports": ("domain rows", BLUE), "candidate_exports": ("candidates", YELLOW)}
_MEGABYTE = 1_000_000
VALUE = "value"


class Changes(NamedTuple):
    """What changed since the snapshot before.

    Attributes:
        table: Rows per table before and now; None where there is no snapshot before.
    """

    says: list[str]
    table: pl.DataFrame | None


class Checks(NamedTuple):
    """All checks of a snapshot.

    Attributes:
        table: Worst first: verdict (one of VERDICTS), table, check, and for those that did not pass what decided it.
    """

    says: str
    table: pl.DataFrame

    @property
    def all_passed(self) -> bool:
        """Whether none of them warned or failed."""
        return self.table["verdict"].eq("passed").all()


def compare_snapshots(manifest: Manifest, previous: Manifest | None) -> Changes:
    """Say what changed since the snapshot before."""
    if previous is None:
        return Changes(["There is no snapshot before this one."], None)
    before, now = rows_of(previous), rows_of(manifest)
    rows = [
        (name, _count(before, name), _count(now, name), signed(now.get(name, 0) - before.get(name, 0)))
        for name in dict.fromkeys((*now, *before))
    ]
    schema = dict.fromkeys(("table", "before", "now", "difference"), pl.String)
    since = f"{previous.source.snapshot_at:%Y-%m-%d %H:%M} UTC"
    says = [f"Compared with snapshot {previous.id} (sequence {previous.sequence}) of {since}."]
    if manifest.source.identity != previous.source.identity:
        says.append("It was read from another source.")
    if manifest.contract_version != previous.contract_version:
        says.append(f"Its contract version is {previous.contract_version}.")
    says.append(_segments_read(manifest))
    return Changes(says, pl.DataFrame(rows, schema, orient="row"))


class ChangedRows(NamedTuple):
    """The rows that differ from the snapshot before, for people.

    Attributes:
        counts: New, gone and changed rows of each table that differs.
        domains: Domain rows that differ, the first of each kind.
    """

    says: list[str]
    counts: pl.DataFrame
    domains: pl.DataFrame


def show_changed_rows(changes: RowChanges) -> ChangedRows:
    """Say how many rows are new, gone and changed, and what was not compared."""
    says = []
    of_domains = changes.counts.filter(pl.col("table") == "domain_exports").drop_nulls()
    if of_domains.height:
        kinds = {kind: of_domains[kind].item() for kind in ("new", "gone", "changed")}
        numbers = ", ".join(f"{whole(number)} {kind}" for kind, number in kinds.items())
        first = f" The first {NAMED} of each kind, by id, are named." if max(kinds.values()) > NAMED else ""
        says.append(f"Domain rows: {numbers}.{first}")
    elif "domain_exports" not in changes.counts["table"]:
        says.append("No domain row differs.")
    if changes.counts["new"].null_count():
        says.append(f"Tables with more than {whole(MAX_COMPARED_ROWS)} rows in files that differ were not compared.")
    counts = changes.counts.with_columns(
        pl.Series(kind, ["not compared" if n is None else whole(n) for n in changes.counts[kind]], pl.String)
        for kind in ("new", "gone", "changed")
    )
    return ChangedRows(says, counts, changes.domains.cast({"domain_id": pl.String}))


def show_batch_changes(changes: BatchChanges) -> Section:
    """How many domain rows there are more or fewer of each kind since the snapshot before."""
    parts = {"new": changes.new, "gone": changes.gone, "changed": changes.changed, "as before": changes.same}
    says = ", ".join(f"{whole(number)} {what}" for what, number in parts.items() if number or what == "as before")
    table = changes.counts.filter((pl.col("before") > 0) | (pl.col("now") > 0))
    differences = (table["now"] - table["before"]).to_list()
    shown = table.with_columns(pl.Series("difference", [signed(number) for number in differences], pl.String))
    chart = None
    if any(differences):
        labels = table["domain rows"].to_list()
        chart = draw_differences(labels, differences, [signed(number) for number in differences])
    else:
        says += "; no count differs"
    return Section("changes-by-kind", "Domain rows by kind, since then", f"Batches: {says}.", chart, shown)


def show_timings(manifest: Manifest) -> Section:
    """How long the stages of the run took, in the order in which they ran."""
    timings = {name: s for name, s in manifest.timings_s.items() if s >= 0 and name != DRAWING_STAGE}
    names = {name: _stage(name) for name in timings}
    says = "No stage was timed."
    if timings:
        longest = max(timings, key=timings.__getitem__)
        says = f"{format_seconds(manifest.work_s)} to read, build and verify, in {counted(len(timings), 'stage')}"
        says += f"; longest {names[longest]} with {format_seconds(timings[longest])}."
    # Drawn: a table's stages as one, and of these the longest.
    tables = [table.name for table in manifest.tables]
    sums: dict[str, float] = {}
    for name, duration in timings.items():
        drawn = next((table for table in tables if name.startswith(f"build_{table}_")), names[name])
        sums[drawn] = sums.get(drawn, 0) + duration
    top = sorted(sums, key=sums.__getitem__, reverse=True)[:_STAGES_DRAWN]
    bars = {plain(name, _LABEL): duration for name, duration in sums.items() if name in top}
    chart = draw_bars(list(bars), list(bars.values()), [format_seconds(d) for d in bars.values()]) if bars else None
    table = pl.DataFrame(
        {"stage": list(names.values()), "seconds": [f"{d:.3f}" for d in timings.values()]},
        schema={"stage": pl.String, "seconds": pl.String},
    )
    return Section("timings", "Time per stage", says, chart, table)


def list_checks(manifest: Manifest) -> Checks:
    """All checks, those of the snapshot and those of its tables, worst first."""
    checks = checks_of(manifest)
    verdicts = [_verdict(check) for check in checks]
    order = sorted(range(len(checks)), key=lambda i: VERDICTS.index(verdicts[i]))
    rows = [(verdicts[i], checks[i].table, checks[i].name, _cause(checks[i])) for i in order]
    says = f"{whole(verdicts.count('passed'))} of {counted(len(checks), 'check')} passed"
    warned, failed = verdicts.count("warning"), verdicts.count("failed")
    says += f", {counted(warned, 'warning')}" if warned else ""
    says += f", {whole(failed)} failed" if failed else ""
    schema = dict.fromkeys(("verdict", "table", "check", "cause"), pl.String)
    return Checks(f"{says}.", pl.DataFrame(rows, schema, orient="row"))


def _count(counts: dict[str, int], name: str) -> str:
    return whole(counts[name]) if name in counts else "not there"


def _segments_read(manifest: Manifest) -> str:
    if manifest.base_snapshot is None:
        return "Everything was read again."
    changed = manifest.changed_segments
    if not changed:
        return f"No segment changed: all were reused from {manifest.base_snapshot}."
    names = ", ".join(changed[:_SEGMENTS_NAMED]) + (", …" if len(changed) > _SEGMENTS_NAMED else "")
    return (
        f"{counted(len(changed), 'segment')} changed and read again ({names}); the others were reused from"
        f" {manifest.base_snapshot}."
    )


def _stage(name: str) -> str:
    part, _, rest = name.partition("_")
    return plain(f"{_PARTS[part]}: {rest.replace('_', ' ')}" if part in _PARTS and rest else name)


def _verdict(check: CheckRecord) -> str:
    if check.passed:
        return "passed"
    return "warning" if check.severity == "warn" else "failed"


def _cause(check: CheckRecord) -> str:
    if check.passed:
        return ""
    parts = (f"{name.replace('_', ' ')} {_figure(value)}" for name, value in check.metadata.items())
    return plain(", ".join(parts), _MAX_CAUSE)


def _figure(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return json.dumps(value, ensure_ascii=False, default=str)
    return whole(value) if isinstance(value, int) else str(value)


def show_history(manifests: Sequence[Manifest]) -> list[Section]:
    """Charts of the last snapshots.

    Args:
        manifests: Oldest first; the last one is of the snapshot that the report is about.

    Returns:
        A section each for rows, rejected rows, warnings, time and size; none of a single snapshot.
    """
    if len(manifests) < 2:  # noqa: PLR2004  nothing to compare with
        return []
    rejects = [rows_of(manifest).get("rejected_rows", 0) for manifest in manifests]
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
    rows = [rows_of(manifest) for manifest in manifests]
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


def rows_of(manifest: Manifest) -> dict[str, int]:
    """Rows by table."""
    return {table.name: table.rows for table in manifest.tables}


def _warnings(manifest: Manifest) -> int:
    return sum(not check.passed and check.severity == "warn" for check in checks_of(manifest))


def _data_bytes(manifest: Manifest) -> int:
    """Size of the tables in both formats. The report itself is not counted: it can't know its own size."""
    return manifest.bytes - sum(file.bytes for file in manifest.extras)
