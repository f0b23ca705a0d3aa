"""domain_exports and candidate_exports alone, both formats: what a run does for these two, without Dagster."""

import tempfile
from pathlib import Path

from pipelines.build.stagings import latest_staging
from pipelines.contracts.tables import DOMAIN_EXPORTS, candidate_exports
from pipelines.export import hold_run
from pipelines.settings import load_settings
from pipelines.snapshots.database import build_database


def main() -> None:
    """Run on DATABASE_URL into a folder that is thrown away."""
    with tempfile.TemporaryDirectory(dir=load_settings().export_dir.parent) as folder:
        settings = load_settings({"export_dir": Path(folder)})
        with hold_run(settings) as run:
            run.stage()
            tables = (DOMAIN_EXPORTS, candidate_exports(include_full_data=False))
            built = run.build([table.name for table in tables])
            tables_dir = latest_staging(settings.export_dir).tables_dir
            files = {record.name: [tables_dir / file.path for file in record.files] for record in built}
            rows = build_database(Path(folder) / "exports.duckdb", tables, files)
    print(rows)


if __name__ == "__main__":
    main()
