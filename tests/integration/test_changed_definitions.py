"""What no snapshot holds, a label of an enum or a function of a view, is changed and changed back while a run goes on.

The rows that are published and the fingerprints beside them belong together, so the next run finds out (DESIGN 3.8).
"""

from pathlib import Path
from typing import Any

import pytest

from pipelines.progress import Progress
from pipelines.source import extraction
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.kit import run_sql
from tests.integration.test_fingerprints import simple_rows
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]

FUNCTION = "CREATE OR REPLACE FUNCTION shown(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN $1 || '{}'; END $$"
# How the source comes to depend on it, the change, and the change back.
DEFINITIONS: dict[str, tuple[list[str], str, str]] = {
    "a label of an enum": (
        [
            "CREATE TYPE label AS ENUM ('success', 'failed')",
            "ALTER TABLE domains ALTER COLUMN status TYPE label USING status::label",
        ],
        "ALTER TYPE label RENAME VALUE 'success' TO 'done'",
        "ALTER TYPE label RENAME VALUE 'done' TO 'success'",
    ),
    "a function of a view": (
        [
            FUNCTION.format(""),
            "ALTER TABLE domains RENAME TO stored",
            "CREATE VIEW domains AS SELECT id, domain, batch_id, shown(status) AS status FROM stored",
        ],
        FUNCTION.format(" v2"),
        FUNCTION.format(""),
    ),
}


@pytest.mark.parametrize("read", ["everything", "one segment"])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_changed_for_the_read_alone(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, read: str
) -> None:
    preparation, change, back = DEFINITIONS[name]
    fill_source(database, *simple_rows(300))
    run_sql(database, *preparation)
    settings = settings_for(database, tmp_path, segment_size=100)
    if read == "one segment":
        export(settings)
        run_sql(database, "UPDATE gleif_candidates SET legal_name = 'other' WHERE domain_id = 150")
    find_changes, heard = extraction.find_changes, list[Progress]()

    def find_then_change(*arguments: Any) -> Any:
        found = find_changes(*arguments)
        run_sql(database, change)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(extraction, "find_changes", find_then_change)
        published = export(settings, on_progress=heard.append)
    run_sql(database, back)
    said = [message.what for message in heard if "otherwise than they were compared" in message.what]
    assert len(said) == (read == "one segment")
    following = export(settings)
    assert following.manifest.id != published.manifest.id
    assert_agrees(database, following)
    assert export(settings).manifest.id == following.manifest.id
