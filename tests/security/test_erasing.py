"""The way of docs/security.md to erase a person's data leaves nothing of it under EXPORT_DIR."""

from pathlib import Path

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from assets.cli.commands import app
from tests.exporting import export, settings_for
from tests.integration.kit import run_sql
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, insert_source

pytestmark = [pytest.mark.integration, pytest.mark.extended]

PERSON = "Qzx Wvkj-Personne 7713"


def holders(export_dir: Path) -> set[str]:
    """Kinds of the files that hold the name: in a value of a table, or as bytes, such as those of deleted rows."""
    found = set()
    for path in export_dir.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        text = path.read_bytes().decode("utf-8", "replace")
        if path.suffix == ".parquet":
            text += pl.read_parquet(path).write_ndjson()
        elif path.suffix == ".arrow":
            text += pl.read_ipc(path).write_ndjson()
        elif path.suffix == ".duckdb":
            with duckdb.connect(path, read_only=True) as connection:
                for (table,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall():
                    text += repr(connection.execute(f'SELECT * FROM "{table}"').fetchall())
        if PERSON in text:
            found.add(f"{path.parent.name if path.suffix == '.parquet' else ''}{path.suffix}")
    return found


def test_a_person_is_erased(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with database.connect() as connection:
        create_source_tables(connection)
        domains = [{"id": n, "domain": f"d{n}.x", "status": "success", "batch_id": "b"} for n in range(1, 400)]
        candidates = [
            {"id": n, "domain_id": n, "lei_code": f"L{n}", "legal_name": f"Firm {n}", "entity_category": "GENERAL"}
            for n in range(1, 400)
        ]
        person = {"lei_code": "P", "legal_name": PERSON, "entity_category": "SOLE_PROPRIETOR"}
        candidates += [{**person, "id": 900, "domain_id": 7}, {**person, "id": 901, "domain_id": 7}]
        insert_source(connection, domains, candidates)
    settings = settings_for(database, tmp_path, segment_size=100)
    export(settings)
    run_sql(database, "UPDATE domains SET retry_count = 1 WHERE id IN (7, 300)")
    export(settings)
    assert holders(tmp_path) == {
        "candidate_exports.parquet", "domain_exports.parquet", "entities.parquet", "rejected_rows.parquet",
        "unique_domains.parquet", ".duckdb", ".arrow",
    }  # fmt: skip
    run_sql(database, "DELETE FROM gleif_candidates WHERE entity_category = 'SOLE_PROPRIETOR'")
    current = export(settings, full_refresh=True)
    monkeypatch.setenv("EXPORT_DIR", str(tmp_path))
    pruned = CliRunner().invoke(app, ["prune", "--all-but-current"])
    assert pruned.exit_code == 0, pruned.output
    assert holders(tmp_path) == set()
    assert [path.name for path in (tmp_path / "snapshots").iterdir()] == [current.manifest.id]
