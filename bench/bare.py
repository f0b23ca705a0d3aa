"""The bare run: the same rows into the same files, without whatever makes a run worth trusting.

No Dagster, no contract, content or sum is checked, no digest made or compared, nothing verified, no report drawn. This
is what the data path takes; what a whole run takes beyond it is what trust costs.
"""

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from pipelines.system import runtime_tuning  # noqa: F401  first: it works before Polars is loaded only

# isort: split
from pipelines.export import run_export
from pipelines.settings import Settings, load_settings

_CHECKS = (
    "pipelines.checks.evaluation.TableChecks.update",
    "pipelines.checks.content.DomainChecks.update",
    "pipelines.checks.content.CandidateChecks.update",
    "pipelines.checks.evaluation.TableChecks.add_sums",
)
_RESULTS = (
    "pipelines.checks.evaluation.TableChecks.sum_results",
    "pipelines.snapshots.assembly.compare_duckdb_and_parquet",
)


@contextmanager
def nothing_checked() -> Iterator[None]:
    """Leave out checks, digests and verification while the block runs."""
    with ExitStack() as stack:
        for name in _CHECKS:
            stack.enter_context(patch(name, lambda *_, **__: None))
        for name in _RESULTS:
            stack.enter_context(patch(name, lambda *_, **__: []))
        stack.enter_context(patch("pipelines.system.files.sha256_of", lambda _: ""))
        yield


def run_bare(settings: Settings) -> dict[str, int]:
    """Read and publish everything, bare; the rows of each table."""
    with nothing_checked():
        publication = run_export(settings, full_refresh=True)
    return {} if publication is None else {table.name: table.rows for table in publication.manifest.tables}


def main() -> None:
    """Run on DATABASE_URL into a folder that is thrown away."""
    with tempfile.TemporaryDirectory(dir=load_settings().export_dir.parent) as folder:
        print(run_bare(load_settings({"export_dir": Path(folder)})))


if __name__ == "__main__":
    main()
