"""What a person would rather look at: charts of a snapshot, as report.html and as Markdown for Dagster's pages."""
