"""The built-in sample: where its files are, and whether a source was filled from them."""

import csv
from pathlib import Path

from pipelines.contracts.records import SAMPLE_IDENTITY, SourceRecord

SAMPLE_DIR = Path(__file__).resolve().parent / "data"


def is_built_in_sample(source: SourceRecord) -> bool:
    """Whether a source is the embedded PostgreSQL with as many rows in each table as the built-in files have.

    `lei-exports sample load --from DIR` may have put other rows there.
    """
    if source.identity != SAMPLE_IDENTITY:
        return False
    return all(_rows(SAMPLE_DIR / f"{name}.csv") == relation.rows for name, relation in source.relations.items())


def _rows(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in csv.reader(file)) - 1
