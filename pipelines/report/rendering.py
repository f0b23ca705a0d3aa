"""report.html of a snapshot, and the plots of an asset's page.

The page's template escapes every text; values from the data are made harmless before (texts.plain).
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import polars as pl
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from pipelines.contracts.records import Manifest
from pipelines.contracts.tables import published_tables
from pipelines.report.differences import ChangedFiles
from pipelines.report.drawing import Draw, draw_here, image_uri, inline_svg
from pipelines.report.figures import Figures, compare_figures, measure_tables
from pipelines.report.runs import (
    VALUE,
    compare_snapshots,
    list_checks,
    rows_of,
    show_batch_changes,
    show_changed_rows,
    show_history,
    show_timings,
)
from pipelines.report.sections import Section, candidate_sections, domain_sections, reject_sections
from pipelines.report.texts import MAX_LABEL, WHOLE, plain, share, whole

REPORT = "report.html"
SNAPSHOT = "snapshot"
# Charts on the page of the asset `published/snapshot`, the rest is in report.html.
_ON_SNAPSHOT = ("over-time", "primaries", "jurisdictions", "rejects")
_SECTIONS: dict[str, Callable[[Figures], list[Section]]] = {
    "domain_exports": domain_sections,
    "candidate_exports": candidate_sections,
    "rejected_rows": reject_sections,
}
_SIGNS = {"passed": "✓", "warning": "!", "failed": "✗"}
# Columns of texts that are numbers with a unit or a sign.
_NUMBER_TEXTS = {"share", "seconds", "before", "now", "difference", "new", "gone", "changed", VALUE}


def render_report(
    tables: Mapping[str, pl.LazyFrame],
    manifest: Manifest,
    earlier: Sequence[Manifest] = (),
    batches_before: pl.LazyFrame | None = None,
    changed: Mapping[str, ChangedFiles] | None = None,
) -> bytes:
    """The content of report.html, drawn in this process.

    Args:
        tables: Scans by table name; those that charts are made of are read, a missing one leaves its charts out.
        manifest: As for `make_page`, and so is `earlier`.
        batches_before: batch_summaries of the snapshot before; None leaves the chart of changes out.
        changed: What differs from the snapshot before, by table; None leaves the changed rows out.

    Returns:
        UTF-8; the same for the same arguments.

    Raises:
        ReportError: A chart could not be drawn.
    """
    figures = compare_figures(measure_tables(tables), tables.get("batch_summaries"), batches_before, changed)
    return make_page(figures, manifest, earlier, draw_here)


def make_page(figures: Figures, manifest: Manifest, earlier: Sequence[Manifest], draw: Draw) -> bytes:
    """The content of report.html.

    Args:
        figures: What was counted in the snapshot's tables.
        manifest: Its manifest, or what is known of it before it is written.
        earlier: Manifests of the last snapshots before it, oldest first; the last one is what it is compared with.

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
    page = environment.get_template("report.html.jinja").render(
        manifest=manifest,
        as_of=f"{manifest.source.snapshot_at:%Y-%m-%d %H:%M} UTC",
        facts=_facts(manifest),
        tiles=_tiles(figures, manifest),
        changes=compare_snapshots(manifest, earlier[-1] if earlier else None),
        changes_by_kind=None if figures.changes is None else show_batch_changes(figures.changes),
        changed_rows=None if figures.rows is None else show_changed_rows(figures.rows),
        history=show_history([*earlier, manifest]),
        contents={**{name: make(figures) for name, make in _SECTIONS.items()}, "": [show_timings(manifest)]},
        checks=list_checks(manifest),
        signs=_SIGNS,
        tables=published_tables(include_full_data=manifest.include_full_data),
        versions=", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    )
    return page.encode()


def plots_for(
    table_name: str, figures: Figures, manifest: Manifest | None = None, draw: Draw = draw_here
) -> dict[str, str]:
    """Charts as Markdown with embedded images, for the metadata of an asset.

    Args:
        table_name: A published table, or `snapshot`.
        figures: What was counted, at least of that table.
        manifest: For `snapshot`: adds its stage timings.

    Returns:
        Markdown by metadata key, `plot_<chart>`; empty for a table without charts, nothing for a chart without rows.

    Raises:
        ReportError: A chart could not be drawn.
    """
    if table_name == SNAPSHOT:
        charts = [section for make in _SECTIONS.values() for section in make(figures) if section.name in _ON_SNAPSHOT]
        changes = [] if figures.changes is None else [show_batch_changes(figures.changes)]
        timings = [] if manifest is None else [show_timings(manifest)]
        sections = [*changes, *charts, *timings]
    else:
        sections = _SECTIONS[table_name](figures) if table_name in _SECTIONS else []
    # Only the title's and our own words outside the image: Markdown in a value from the data would be followed.
    return {
        f"plot_{section.name.replace('-', '_')}": f"### {section.title}\n\n"
        f"![{section.title}]({image_uri(section.chart, draw)})"
        for section in sections
        if section.chart
    }


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
    rows = rows_of(manifest)
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
