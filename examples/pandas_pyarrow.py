"""Which legal entities do most domains map to? With pandas over pyarrow, which reads only the columns asked for.

Needs the packages pandas and pyarrow. EXPORT_DIR says where the exports are; unset, it is data/exports.
"""

import os
import sys
from pathlib import Path

import pandas as pd
import pyarrow.dataset as ds


def main() -> None:
    """Print the entities with most domains, and which domains."""
    current = Path(os.environ.get("EXPORT_DIR", "data/exports"), "current")
    if not current.exists():
        sys.exit(f"{current} is not there: run `make export` first, or set EXPORT_DIR to where the exports are")
    # Once: `current` may be switched at any moment, the folder that it leads to stays as it is.
    snapshot = current.resolve()
    entities = ds.dataset(snapshot / "entities").to_table(
        columns=["lei_code", "legal_name", "domain_count", "domains"], filter=ds.field("domain_count") > 1
    )
    # Arrow's types stay what they are: a code of digits does not become a number, NULL does not become NaN.
    frame = entities.to_pandas(types_mapper=pd.ArrowDtype)
    frame["domains"] = frame["domains"].map(", ".join)
    answer = frame.sort_values(["domain_count", "lei_code"], ascending=[False, True]).head(8)
    print(answer.to_string(index=False, max_colwidth=40))


if __name__ == "__main__":
    main()
