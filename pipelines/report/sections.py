"""What the charts of tables say: for each its title, what it shows in words, its drawing and the figures behind it.

Which charts a table has, in the order in which they are shown: the functions `…_sections`.
"""

from dataclasses import dataclass, replace

import polars as pl

from pipelines.report.charts import (
    BLUE,
    PURPLE,
    SKY,
    VERMILLION,
    YELLOW,
    Series,
    Spec,
    draw_bars,
    draw_columns,
    draw_heat_map,
    draw_stacked_bars,
)
from pipelines.report.figures import (
    ABOVE,
    BELOW,
    SCORE_MAX,
    SCORE_STEP,
    STATUS_COUNTS,
    DomainFigures,
    Figures,
    PrimaryFigures,
)
from pipelines.report.texts import MAX_LABEL, WHOLE, compact, counted, distinct_labels, plain, share, whole

_HIGH_SCORE = 80
_STATUS_COLORS = dict(zip(STATUS_COUNTS, (BLUE, VERMILLION, SKY, YELLOW, PURPLE), strict=True))
_BATCHES_DRAWN, _BATCHES_LISTED = 12, 100
_JURISDICTIONS_DRAWN, _JURISDICTIONS_LISTED = 12, 100
_REASONS_DRAWN = 12
_MAX_CANDIDATES = 20
_ENTITY_STATUSES, _REGISTRATION_STATUSES = 2, 5
_OTHERS = "others"
# Characters of a label next to bars.
_LABEL, _REASON = 16, 20


@dataclass(frozen=True)
class Section:
    """One chart with its words.

    Attributes:
        name: Its name in a page's addresses.
        says: What the figures say, in a sentence or two.
        chart: The drawing; None where there is nothing to draw.
        table: The figures behind it, columns named for people.
    """

    name: str
    title: str
    says: str
    chart: Spec | None
    table: pl.DataFrame


def show_timeline(figures: DomainFigures) -> Section:
    """Domains by status over time."""
    timeline = figures.timeline
    periods = timeline.periods
    series = _statuses_in(periods)
    success = int(figures.batches["success"].sum())
    says = [f"{share(success, figures.rows)} of {counted(figures.rows, 'domain row')} succeeded."]
    aside = {"without a date": timeline.undated, "earlier": timeline.before, "later": timeline.after}
    left_out = [f"{whole(number)} {where}" for where, number in aside.items() if number]
    if left_out:
        says.append(f"Not drawn: {', '.join(left_out)}.")
    chart = None
    if periods.height:
        values = {part.name: periods[part.name].to_list() for part in series}
        chart = draw_columns(periods["short"].to_list(), series, values, f"created, by {timeline.period}, UTC")
    table = periods.select(
        pl.col("label").alias("from"), pl.col("rows").alias("domain rows"), *(part.name for part in series)
    )
    return Section("over-time", "Domains over time", " ".join(says), chart, table)


def show_batches(figures: DomainFigures) -> Section:
    """The newest batches by status."""
    batches = figures.batches
    series = _statuses_in(batches)
    names = [part.name for part in series]
    drawn = batches.head(_BATCHES_DRAWN)
    says = counted(batches.height, "batch", "batches")
    if batches.height > _BATCHES_DRAWN:
        says = f"The newest {_BATCHES_DRAWN} of {says}, newest first"
    chart = None
    if drawn.height:
        labels = distinct_labels(drawn["batch_id"], _LABEL)
        values = {name: drawn[name].to_list() for name in names}
        chart = draw_stacked_bars(labels, series, values, [compact(n) for n in drawn["rows"]])
    listed, rest = batches.head(_BATCHES_LISTED), batches.slice(_BATCHES_LISTED)
    created = pl.col("first_created_at").dt.strftime("%Y-%m-%d %H:%M").fill_null("")
    table = listed.select(
        pl.Series("batch", distinct_labels(listed["batch_id"], WHOLE), pl.String),
        created.alias("first row"),
        "rows",
        *names,
    )
    if rest.height:
        others = pl.lit(f"{whole(rest.height)} {_OTHERS}").alias("batch")
        table = pl.concat([table, rest.select(others, pl.lit("").alias("first row"), pl.col("rows", *names).sum())])
    return Section("batches", "Domains per batch", f"{says}.", chart, table.rename({"rows": "domain rows"}))


def show_candidates_per_domain(figures: DomainFigures) -> Section:
    """How many candidates domain rows have."""
    counts = figures.candidates
    number = pl.col("gleif_candidate_count").cast(pl.Int64)
    candidates = int(counts.select((number * pl.col("rows")).sum()).item())
    bins = counts.group_by(number.clip(0, _MAX_CANDIDATES + 1).alias("bin")).agg(pl.col("rows").sum())
    without = int(bins.filter(pl.col("bin") == 0)["rows"].sum())
    most = max(bins["bin"].to_list(), default=0)
    every = pl.DataFrame({"bin": range(most + 1)}, schema={"bin": pl.Int64})
    bins = every.join(bins, on="bin", how="left", maintain_order="left").with_columns(pl.col("rows").fill_null(0))
    labels = [f"{_MAX_CANDIDATES + 1}+" if n > _MAX_CANDIDATES else str(n) for n in bins["bin"]]
    average = f"{candidates / figures.rows:,.1f}" if figures.rows else "0"
    says = f"{average} on average; {share(without, figures.rows)} of the domain rows have none."
    chart = draw_columns(labels, [Series("rows", BLUE)], {"rows": bins["rows"].to_list()}, "candidates of a domain row")
    table = bins.select(pl.Series("candidates", labels), pl.col("rows").alias("domain rows"))
    return _drawn_if(figures.rows, Section("candidates-per-domain", "Candidates per domain", says, chart, table))


def show_scores(figures: DomainFigures) -> Section:
    """How confidence scores are distributed."""
    counts = dict(figures.scores.iter_rows())
    missing = counts.pop(None, 0)
    outside = [low for low in (BELOW, ABOVE) if low in counts]
    lows = sorted({*range(0, SCORE_MAX, SCORE_STEP), *outside})
    texts = {BELOW: "< 0", ABOVE: f"> {SCORE_MAX}"}
    labels = [texts.get(low, str(low)) for low in lows]
    values = [counts.get(low, 0) for low in lows]
    scored = sum(values)
    says = f"{share(scored, figures.rows)} of the domain rows have a score"
    high = sum(rows for low, rows in counts.items() if low >= _HIGH_SCORE)
    says += f"; {share(high, scored)} of those are {_HIGH_SCORE} or more." if scored else "."
    title = f"confidence_score, in bars of {SCORE_STEP} points"
    chart = draw_columns(labels, [Series("rows", BLUE)], {"rows": values}, title)
    ranges = [texts.get(low, _score_range(low)) for low in lows]
    table = pl.DataFrame({"score": [*ranges, "(none)"], "domain rows": [*values, missing]})
    return _drawn_if(scored, Section("confidence", "Confidence", says, chart, table), "No domain row has a score.")


def show_primaries(figures: PrimaryFigures) -> Section:
    """How many domain rows have a valid primary LEI."""
    counts = {
        "valid primary": figures.valid,
        "primary not valid": figures.other,
        "none chosen": figures.unchosen,
        "no candidates": figures.without_candidates,
    }
    total = sum(counts.values())
    says = (
        f"{share(figures.valid, total)} of {counted(total, 'domain row')} have a primary LEI that is valid and among"
        " their candidates."
    )
    labels, values = list(counts), list(counts.values())
    chart = draw_bars(labels, values, [share(value, total) for value in values])
    table = pl.DataFrame({"primary LEI": labels, "domain rows": values, "share": [share(v, total) for v in values]})
    return _drawn_if(total, Section("primaries", "Primary LEI", says, chart, table))


def show_jurisdictions(kinds: pl.DataFrame) -> Section:
    """Candidates by jurisdiction."""
    counts = _totals(kinds, "jurisdiction")
    total = int(counts["rows"].sum())
    table = _top(counts, "jurisdiction", _JURISDICTIONS_LISTED, "candidates")
    drawn = _top(counts, "jurisdiction", _JURISDICTIONS_DRAWN, "candidates", _LABEL)
    known = counts["jurisdiction"].drop_nulls().len()
    says = f"{counted(known, 'jurisdiction')} among {counted(total, 'candidate')}"
    if counts.height:
        says += f"; most are {drawn['jurisdiction'][0]} with {share(drawn['candidates'][0], total)}"
    chart = _draw_top(drawn, counts.height)
    return _drawn_if(total, Section("jurisdictions", "Jurisdictions", f"{says}.", chart, table))


def show_gleif_statuses(kinds: pl.DataFrame) -> Section:
    """Candidates by status of entity and of registration."""
    total = int(kinds["rows"].sum())
    columns = ("entity_status", "registration_status")
    named = kinds.select("rows")
    orders: list[list[str]] = []
    for column, most in zip(columns, (_ENTITY_STATUSES, _REGISTRATION_STATUSES), strict=True):
        shown = _totals(kinds, column)[column].head(most).to_list()
        has_others = kinds[column].n_unique() > len(shown)
        labels = distinct_labels([*shown, _OTHERS], 16)
        texts = dict(zip(shown, labels, strict=False))
        named = named.with_columns(pl.Series(column, [texts.get(v, labels[-1]) for v in kinds[column]], pl.String))
        orders.append(labels if has_others else labels[:-1])
    counts = {tuple(key): rows for *key, rows in named.group_by(columns).agg(pl.col("rows").sum()).iter_rows()}
    cells = [(x, y, counts.get((x, y), 0)) for y in orders[1] for x in orders[0]]
    active = int(kinds.filter(entity_status="ACTIVE", registration_status="ISSUED")["rows"].sum())
    says = f"{share(active, total)} of {counted(total, 'candidate')} are active with an issued LEI."
    says += " Columns: status of the entity; rows: status of its LEI."
    chart = draw_heat_map([(x, y, n, compact(n)) for x, y, n in cells])
    rows = [(x, y, n, share(n, total)) for x, y, n in cells]
    schema = {"entity": pl.String, "registration": pl.String, "candidates": pl.Int64, "share": pl.String}
    return _drawn_if(total, Section("statuses", "GLEIF status", says, chart, pl.DataFrame(rows, schema, orient="row")))


def show_rejects(counts: pl.DataFrame) -> Section:
    """Rejected rows by reason."""
    total = int(counts["rows"].sum())
    reasons = counts.select(
        pl.Series("reason", [plain(text) for text in counts["reason"]], pl.String),
        pl.Series("table", [plain(text) for text in counts["source_table"]], pl.String),
        "rows",
    )
    says = f"{counted(total, 'source row')} in no export; the table rejected_rows has each with its reason."
    by_reason = _totals(counts, "reason")
    chart = _draw_top(_top(by_reason, "reason", _REASONS_DRAWN, "rows", _REASON), by_reason.height)
    section = Section("rejects", "Rejected rows by reason", says, chart, reasons)
    return _drawn_if(total, section, "No source row was rejected.")


def _drawn_if(rows: int, section: Section, otherwise: str = "No rows.") -> Section:
    """The section; where there is nothing to draw, other words and no drawing."""
    return section if rows else replace(section, says=otherwise, chart=None)


def _statuses_in(counts: pl.DataFrame) -> list[Series]:
    present = [name for name in STATUS_COUNTS if counts[name].sum()]
    return [Series(name, _STATUS_COLORS[name]) for name in present]


def _score_range(low: int) -> str:
    high = low + SCORE_STEP
    return f"{low} to {high}" if high == SCORE_MAX else f"{low} to < {high}"


def _totals(counts: pl.DataFrame, column: str) -> pl.DataFrame:
    totals = counts.group_by(column).agg(pl.col("rows").sum())
    return totals.sort(["rows", column], descending=[True, False], nulls_last=True)


def _top(counts: pl.DataFrame, column: str, most: int, noun: str, longest: int | None = None) -> pl.DataFrame:
    """The first rows with their labels, and all that follow as one."""
    top, rest = counts.head(most), counts.slice(most)
    others = [f"{whole(rest.height)} {_OTHERS}"] if rest.height else []
    labels = distinct_labels([*top[column], *others], longest or MAX_LABEL)
    rows = [*top["rows"], *([int(rest["rows"].sum())] if others else [])]
    return pl.DataFrame({column: labels, noun: rows}, schema={column: pl.String, noun: pl.Int64})


def _draw_top(top: pl.DataFrame, of: int) -> Spec:
    """Bars of `_top`, of so many values; the one of all others is not like the rest."""
    labels, rows = (column.to_list() for column in top.get_columns())
    return draw_bars(labels, rows, [compact(n) for n in rows], labels[-1] if of > len(labels) else None)


def domain_sections(figures: Figures) -> list[Section]:
    """Charts of domain_exports; none where it was not counted."""
    domains = figures.domains
    if domains is None:
        return []
    primaries = [] if figures.primaries is None else [show_primaries(figures.primaries)]
    others = [show_candidates_per_domain(domains), show_scores(domains)]
    return [show_timeline(domains), show_batches(domains), *primaries, *others]


def candidate_sections(figures: Figures) -> list[Section]:
    """Charts of candidate_exports; none where it was not counted."""
    if figures.candidates is None:
        return []
    return [show_jurisdictions(figures.candidates), show_gleif_statuses(figures.candidates)]


def reject_sections(figures: Figures) -> list[Section]:
    """Charts of rejected_rows; none where it was not counted."""
    return [] if figures.rejects is None else [show_rejects(figures.rejects)]
