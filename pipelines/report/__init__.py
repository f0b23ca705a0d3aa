"""Charts of a snapshot, as report.html and as Markdown for Dagster's pages."""
