"""report.html: one page with everything in it, that loads nothing and runs nothing.

Every text is escaped; values from the data are made harmless before (texts.plain), ids and names once more here.
"""

import html
from collections.abc import Iterable

import polars as pl

from pipelines.contracts.records import Manifest
from pipelines.report.drawing import Draw, draw_here, inline_svg
from pipelines.report.figures import Figures
from pipelines.report.runs import compare_snapshots, list_checks, show_batch_changes, show_timings
from pipelines.report.sections import Section
from pipelines.report.style import STYLE
from pipelines.report.tables import candidate_sections, domain_sections, reject_sections
from pipelines.report.texts import plain, share, whole

# Belt and braces: what is escaped can't run, and if it could it would not be let.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_SIGNS = {"passed": "✓", "warning": "!", "failed": "✗"}
_LONGEST_LINE = 200


def make_page(figures: Figures, manifest: Manifest, previous: Manifest | None, draw: Draw = draw_here) -> str:
    """The page of a snapshot.

    Args:
        figures: What was counted in its tables.
        manifest: Its manifest, or what is known of it before it is written.
        previous: Manifest of the snapshot before.
        draw: What draws the charts.

    Raises:
        ReportError: A chart could not be drawn.
    """
    sections = [*domain_sections(figures), *candidate_sections(figures), *reject_sections(figures)]
    sections.append(show_timings(manifest))
    parts = [
        _header(manifest),
        _tiles(figures, manifest),
        _changes(figures, manifest, previous, draw),
        _cards("What is in it", sections, draw),
        _checks(manifest),
        _footer(manifest),
    ]
    title = _text(f"Snapshot {manifest.id}")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(part for part in parts if part)
        + "\n</main>\n</body>\n</html>\n"
    )


def _text(text: str, longest: int = _LONGEST_LINE) -> str:
    return html.escape(plain(text, longest)) if text else ""


def _header(manifest: Manifest) -> str:
    source = manifest.source
    facts = {
        "Source": f"{source.description}, PostgreSQL {source.server_version}",
        "As of": f"{source.snapshot_at:%Y-%m-%d %H:%M:%S} UTC",
        "Published": f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "Contract": manifest.contract_version,
    }
    items = "".join(f"<div><dt>{name}</dt><dd>{_text(fact)}</dd></div>" for name, fact in facts.items())
    return (
        f"<header>\n<p class=kicker>lei-exports, sequence {manifest.sequence}</p>\n<h1>{_text(manifest.id)}</h1>\n"
        f"<dl class=facts>{items}</dl>\n</header>"
    )


def _tiles(figures: Figures, manifest: Manifest) -> str:
    rows = {table.name: table.rows for table in manifest.tables}
    tiles = [("Domain rows", whole(rows.get("domain_exports", 0)))]
    if figures.domains is not None:
        tiles.append(("Batches", whole(figures.domains.batches.height)))
    tiles.append(("Candidates", whole(rows.get("candidate_exports", 0))))
    if "entities" in rows:
        tiles.append(("Legal entities", whole(rows["entities"])))
    if figures.primaries is not None:
        total = figures.domains.rows if figures.domains is not None else 0
        tiles.append(("Valid primary", share(figures.primaries.valid, total)))
    tiles.append(("Rejected rows", whole(rows.get("rejected_rows", 0))))
    items = "".join(f"<div><dt>{name}</dt><dd>{_text(value)}</dd></div>" for name, value in tiles)
    return f"<dl class=tiles>{items}</dl>"


def _changes(figures: Figures, manifest: Manifest, previous: Manifest | None, draw: Draw) -> str:
    changes = compare_snapshots(manifest, previous)
    says = "".join(f"<p>{html.escape(sentence)}</p>" for sentence in changes.says)
    table = "" if changes.table is None else _table(changes.table, "Rows per table", numbers_from=1)
    card = "" if figures.changes is None else _card(show_batch_changes(figures.changes), draw)
    return (
        f"<section aria-labelledby=changes>\n<h2 id=changes>What changed</h2>\n{says}\n"
        f"<div class=changes>\n{table}\n{card}\n</div>\n</section>"
    )


def _cards(title: str, sections: Iterable[Section], draw: Draw) -> str:
    cards = "\n".join(_card(section, draw) for section in sections)
    return f"<section>\n<h2>{title}</h2>\n<div class=cards>\n{cards}\n</div>\n</section>" if cards else ""


def _card(section: Section, draw: Draw) -> str:
    drawing = inline_svg(section.chart, f"{section.title}. {section.says}", draw) if section.chart else ""
    figures = ""
    if section.table.height:
        figures = f"<details>\n<summary>Figures</summary>\n{_table(section.table, section.title)}\n</details>"
    return (
        f"<article class=card id={section.name}>\n<h3>{_text(section.title)}</h3>\n"
        f"<p>{html.escape(section.says)}</p>\n{drawing}\n{figures}\n</article>"
    )


def _checks(manifest: Manifest) -> str:
    checks = list_checks(manifest)
    rows = "".join(
        f"<tr class={verdict}><td class=verdict><span aria-hidden=true>{_SIGNS[verdict]}</span> {verdict}</td>"
        f"<td>{_text(table)}</td><td>{_text(check)}</td><td class=why>{_text(cause, 2 * _LONGEST_LINE)}</td></tr>\n"
        for verdict, table, check, cause in checks.table.iter_rows()
    )
    head = "<tr><th scope=col>Verdict</th><th scope=col>Table</th><th scope=col>Check</th><th scope=col>Why</th></tr>"
    open_ = " open" if checks.table.filter(pl.col("verdict") != "passed").height else ""
    return (
        f"<section aria-labelledby=checks>\n<h2 id=checks>Checks</h2>\n<p>{_text(checks.says)}</p>\n"
        f"<details{open_}>\n<summary>All checks</summary>\n<div class=scroll tabindex=0>\n<table class=checks>\n"
        f"<caption>Checks of the snapshot and its tables</caption>\n<thead>{head}</thead>\n<tbody>\n{rows}</tbody>\n"
        "</table>\n</div>\n</details>\n</section>"
    )


def _footer(manifest: Manifest) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return f"<footer>\n<p>{_text(versions, 2 * _LONGEST_LINE)}</p>\n</footer>"


def _table(frame: pl.DataFrame, caption: str, numbers_from: int | None = None) -> str:
    """A table of figures; whole numbers and what stands right of `numbers_from` are aligned as numbers."""
    classes = [
        " class=number" if dtype.is_numeric() or name in {"share", "seconds"} or _reaches(numbers_from, i) else ""
        for i, (name, dtype) in enumerate(frame.schema.items())
    ]
    head = "".join(f"<th scope=col{kind}>{_text(name)}</th>" for name, kind in zip(frame.columns, classes, strict=True))
    body = "".join(
        "<tr>" + "".join(f"<td{kind}>{_cell(v)}</td>" for v, kind in zip(row, classes, strict=True)) + "</tr>\n"
        for row in frame.iter_rows()
    )
    return (
        f"<div class=scroll tabindex=0>\n<table>\n<caption>{_text(caption)}</caption>\n<thead><tr>{head}</tr></thead>\n"
        f"<tbody>\n{body}</tbody>\n</table>\n</div>"
    )


def _reaches(start: int | None, column: int) -> bool:
    return start is not None and column >= start


def _cell(value: object) -> str:
    return whole(value) if isinstance(value, int) else f"<bdi>{_text(str(value))}</bdi>"
