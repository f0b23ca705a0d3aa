"""Which domains should a person look at first? With DuckDB, from exports.duckdb.

Needs the package duckdb, 1.4 or newer. EXPORT_DIR says where the exports are; unset, it is data/exports.
"""

import os
import sys
from pathlib import Path

import duckdb

QUESTION = """
    SELECT domain, first_legal_name, second_legal_name, round(score_gap, 1) AS points_apart
    FROM review_queue
    WHERE has_close_scores
    ORDER BY score_gap, domain_id
    LIMIT 8
"""


def main() -> None:
    """Print the domains whose two best candidates are closest to each other."""
    current = Path(os.environ.get("EXPORT_DIR", "data/exports"), "current")
    if not current.exists():
        sys.exit(f"{current} is not there: run `make export` first, or set EXPORT_DIR to where the exports are")
    # Once: `current` may be switched at any moment, the folder that it leads to stays as it is.
    snapshot = current.resolve()
    with duckdb.connect(snapshot / "exports.duckdb", read_only=True) as connection:
        connection.sql(QUESTION).show(max_width=120)


if __name__ == "__main__":
    main()
