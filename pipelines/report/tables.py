"""Which sections there are, by the table that they are about, in the order in which they are shown."""

from pipelines.report.figures import Figures
from pipelines.report.sections import (
    Section,
    show_batches,
    show_candidates_per_domain,
    show_gleif_statuses,
    show_jurisdictions,
    show_primaries,
    show_rejects,
    show_scores,
    show_timeline,
)


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
