"""report.html: what its template is filled with.

The template escapes every text; values from the data are made harmless before (texts.plain).
"""

from collections.abc import Sequence
from functools import partial

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.contracts.records import Manifest
from pipelines.contracts.tables import published_tables
from pipelines.report.drawing import Draw, draw_here, inline_svg
from pipelines.report.figures import Figures
from pipelines.report.runs import (
    VALUE,
    compare_snapshots,
    list_checks,
    show_batch_changes,
    show_changed_rows,
    show_history,
    show_timings,
)
from pipelines.report.sections import Section, candidate_sections, domain_sections, reject_sections
from pipelines.report.texts import MAX_LABEL, WHOLE, plain, share, whole

_SIGNS = {"passed": "✓", "warning": "!", "failed": "✗"}
# Columns of texts that are numbers with a unit or a sign.
_NUMBER_TEXTS = {"share", "seconds", "before", "now", "difference", "new", "gone", "changed", VALUE}


def make_page(
    figures: Figures,
    manifest: Manifest,
    earlier: Sequence[Manifest] = (),
    draw: Draw = draw_here,
) -> str:
    """The page of a snapshot.

    Args:
        figures: What was counted in its tables.
        manifest: Its manifest, or what is known of it before it is written.
        earlier: Manifests of the last snapshots before it, oldest first; the last one is what it is compared with.
        draw: What draws the charts.

    Raises:
        ReportError: A chart could not be drawn.
    """
    environment = Environment(
        loader=PackageLoader("pipelines.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(plain=plain, cell=_cell, columns=_columns, drawing=partial(_drawing, draw=draw))
    return environment.get_template("report.html.jinja").render(
        manifest=manifest,
        as_of=f"{manifest.source.snapshot_at:%Y-%m-%d %H:%M} UTC",
        facts=_facts(manifest),
        tiles=_tiles(figures, manifest),
        changes=compare_snapshots(manifest, earlier[-1] if earlier else None),
        changes_by_kind=None if figures.changes is None else show_batch_changes(figures.changes),
        changed_rows=None if figures.rows is None else show_changed_rows(figures.rows),
        history=show_history([*earlier, manifest]),
        contents={
            "domain_exports": domain_sections(figures),
            "candidate_exports": candidate_sections(figures),
            "rejected_rows": reject_sections(figures),
            "": [show_timings(manifest)],
        },
        checks=list_checks(manifest),
        signs=_SIGNS,
        tables=published_tables(include_full_data=manifest.include_full_data),
        versions=", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    )


def _facts(manifest: Manifest) -> dict[str, str]:
    source = manifest.source
    return {
        "Snapshot": manifest.id,
        "Source": f"{source.description}, PostgreSQL {source.server_version}",
        "As of": f"{source.snapshot_at:%Y-%m-%d %H:%M:%S} UTC",
        "Published": f"{manifest.created_at:%Y-%m-%d %H:%M:%S} UTC",
        "Contract": manifest.contract_version,
    }


def _tiles(figures: Figures, manifest: Manifest) -> dict[str, str]:
    rows = {table.name: table.rows for table in manifest.tables}
    tiles = {"Domain rows": whole(rows.get("domain_exports", 0))}
    if figures.domains is not None:
        tiles["Batches"] = whole(figures.domains.batches.height)
    tiles["Candidates"] = whole(rows.get("candidate_exports", 0))
    if "entities" in rows:
        tiles["Legal entities"] = whole(rows["entities"])
    if figures.primaries is not None:
        tiles["Valid primary"] = share(figures.primaries.valid, figures.domains.rows if figures.domains else 0)
    return {**tiles, "Rejected rows": whole(rows.get("rejected_rows", 0))}


def _drawing(section: Section, draw: Draw) -> Markup:
    if section.chart is None:
        return Markup()
    return Markup(inline_svg(section.chart, f"{section.title}. {section.says}", draw))  # noqa: S704  Vega escapes texts


def _columns(frame: pl.DataFrame) -> list[tuple[str, str]]:
    """Name and class of each column of a table of figures."""
    return [
        (name, "number" if dtype.is_numeric() or name in _NUMBER_TEXTS else "text")
        for name, dtype in frame.schema.items()
    ]


def _cell(value: object) -> Markup:
    """What stands in a cell; of a long text its beginning, and the whole on demand."""
    if isinstance(value, int):
        return escape(whole(value))
    text = plain(str(value), WHOLE) if value else ""
    if len(text) <= MAX_LABEL:
        return Markup("<bdi>{}</bdi>").format(text)
    return Markup("<details class=whole><summary><bdi>{}</bdi></summary><bdi>{}</bdi></details>").format(
        plain(text), text
    )
