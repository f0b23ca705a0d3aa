"""How well does each jurisdiction match? With Polars, lazily: of the Parquet files only four columns are read.

Needs the package polars. EXPORT_DIR says where the exports are; unset, it is data/exports.
"""

import os
import sys
from pathlib import Path

import polars as pl


def main() -> None:
    """Print the jurisdictions with most candidates, how many of them were chosen, and their scores."""
    current = Path(os.environ.get("EXPORT_DIR", "data/exports"), "current")
    if not current.exists():
        sys.exit(f"{current} is not there: run `make export` first, or set EXPORT_DIR to where the exports are")
    # Once: `current` may be switched at any moment, the folder that it leads to stays as it is.
    snapshot = current.resolve()
    answer = (
        pl.scan_parquet(snapshot / "candidate_exports" / "*.parquet")
        .filter("is_valid_lei")
        .group_by("jurisdiction")
        .agg(
            candidates=pl.len(),
            chosen=pl.col("is_primary_selection").sum(),
            median_score=pl.col("weighted_score").median(),
        )
        .sort("candidates", "jurisdiction", descending=[True, False])
        .head(8)
        .collect()
    )
    with pl.Config(tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(answer)


if __name__ == "__main__":
    main()
