"""What the scripts of the peers have in common: their arguments, and what they tell the benchmark at the end."""

import json
import sys
from pathlib import Path

NOT_READ = "gleif_full_data"  # the export leaves it out too, unless it is asked for
# Joined texts of domain_exports, and the column of gleif_candidates that each is made of.
JOINED = {
    "all_lei_codes": "lei_code",
    "all_legal_names": "legal_name",
    "all_jurisdictions": "jurisdiction",
    "all_entity_statuses": "entity_status",
}


def arguments() -> tuple[str, Path]:
    """URL of the database and folder to write into; it is created."""
    folder = Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    return sys.argv[1], folder


def tell(rows: dict[str, int], *, share: float = 1.0, sampled_s: float = 0.0) -> None:
    """Say what was done.

    Args:
        rows: Rows of the tables that were written.
        share: Share of the work that was done, where it was a sample.
        sampled_s: Seconds of the part that grows with that share.
    """
    print(json.dumps({"rows": rows, "share": share, "sampled_s": round(sampled_s, 3)}))
