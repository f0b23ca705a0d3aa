"""What other rooms call: report.html of a snapshot, and the plots of an asset's page.

All work before the snapshot is published and after.
"""

from collections.abc import Mapping, Sequence

import polars as pl

from pipelines.contracts.records import Manifest
from pipelines.report.differences import ChangedFiles
from pipelines.report.drawing import Draw, draw_here, image_uri
from pipelines.report.figures import Figures, compare_figures, measure_tables
from pipelines.report.page import make_page
from pipelines.report.runs import show_batch_changes, show_timings
from pipelines.report.sections import Section, candidate_sections, domain_sections, reject_sections

REPORT = "report.html"
SNAPSHOT = "snapshot"
# Charts on the page of the asset `published/snapshot`, the rest is in report.html.
_ON_SNAPSHOT = ("over-time", "primaries", "jurisdictions", "rejects")


def render_report(
    tables: Mapping[str, pl.LazyFrame],
    manifest: Manifest,
    earlier: Sequence[Manifest] = (),
    batches_before: pl.LazyFrame | None = None,
    changed: Mapping[str, ChangedFiles] | None = None,
) -> bytes:
    """The content of report.html.

    Args:
        tables: Scans by table name; those that charts are made of are read, a missing one leaves its charts out.
        manifest: The snapshot's manifest, or what is known of it before it is written.
        earlier: Manifests of the last snapshots before it, oldest first; the last one is what it is compared with.
        batches_before: batch_summaries of the snapshot before; None leaves the chart of changes out.
        changed: What differs from the snapshot before, by table; None leaves the changed rows out.

    Returns:
        UTF-8; the same for the same arguments.

    Raises:
        ReportError: A chart could not be drawn.
    """
    figures = compare_figures(measure_tables(tables), tables.get("batch_summaries"), batches_before, changed)
    return make_page(figures, manifest, earlier).encode()


def plots_for(
    table_name: str, figures: Figures, manifest: Manifest | None = None, draw: Draw = draw_here
) -> dict[str, str]:
    """Charts as Markdown with embedded images, for the metadata of an asset.

    Args:
        table_name: A published table, or `snapshot`.
        figures: What was counted, at least of that table.
        manifest: For `snapshot`: adds its stage timings.
        draw: What draws the charts.

    Returns:
        Markdown by metadata key, `plot_<chart>`; empty for a table without charts, nothing for a chart without rows.

    Raises:
        ReportError: A chart could not be drawn.
    """
    sections = _sections_of(table_name, figures, manifest)
    return {f"plot_{section.name.replace('-', '_')}": _markdown(section, draw) for section in sections if section.chart}


def _sections_of(table_name: str, figures: Figures, manifest: Manifest | None) -> list[Section]:
    by_table = {
        "domain_exports": domain_sections,
        "candidate_exports": candidate_sections,
        "rejected_rows": reject_sections,
    }
    if table_name in by_table:
        return by_table[table_name](figures)
    if table_name != SNAPSHOT:
        return []
    sections = [section for sections_of in by_table.values() for section in sections_of(figures)]
    changes = [] if figures.changes is None else [show_batch_changes(figures.changes)]
    timings = [] if manifest is None else [show_timings(manifest)]
    return [*changes, *(section for section in sections if section.name in _ON_SNAPSHOT), *timings]


def _markdown(section: Section, draw: Draw) -> str:
    # Only the title's and our own words outside the image: Markdown in a value from the data would be followed.
    return f"### {section.title}\n\n![{section.title}]({image_uri(section.chart, draw)})" if section.chart else ""
