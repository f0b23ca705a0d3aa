"""Only what changed is read, and the result is that of a full refresh, cell by cell (DESIGN 3.5, 4)."""

import hashlib
import json
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from pipelines import export as run_module
from pipelines.build import building
from pipelines.build.building import build_tables
from pipelines.build.derived_tables import build_derived_tables
from pipelines.contracts.tables import DERIVED_TABLES
from pipelines.export import run_export
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.verification import verify_snapshot
from pipelines.system.run_lock import DIGESTS
from tests.exporting import assert_agrees, export, settings_for
from tests.oracle.postgres import Database
from tests.oracle.source import create_source_tables, fill_source
from tests.published import PublishedSources
from tests.random_rows import random_rows

pytestmark = [pytest.mark.integration, pytest.mark.standard]

SEGMENT = 100


def filled(database: Database, seed: int = 5, rows: int = 300, **types: str) -> None:
    fill_source(database, *random_rows(seed, rows), columns={"domains": dict(types)} if types else None)


def execute(database: Database, *statements: str) -> None:
    with database.connect() as connection:
        for statement in statements:
            connection.execute(statement.encode())


def publish_base(database: Database, export_dir: Path) -> None:
    filled(database)
    export(settings_for(database, export_dir, segment_size=SEGMENT))


@pytest.fixture
def exported(database: Database, published_sources: PublishedSources, tmp_path: Path) -> tuple[Settings, Snapshot]:
    configured = settings_for(database, tmp_path / "exports", segment_size=SEGMENT)
    return configured, published_sources.publish(database, configured.export_dir, publish_base)


def test_nothing_changed_publishes_nothing_new(exported: tuple[Settings, Snapshot]) -> None:
    configured, first = exported
    assert export(configured).manifest.id == first.manifest.id
    assert '"unchanged"' in (configured.export_dir / "last_checked.json").read_text()
    assert export(configured, full_refresh=True).manifest.sequence == first.manifest.sequence + 1


def test_no_file_is_digested_twice_in_a_run(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in a first run, nor in one that takes most files over: what was computed stands until the file is written."""
    configured = settings_for(database, tmp_path / "exports", segment_size=SEGMENT)
    filled(database)
    digested: Counter[tuple[int, int]] = Counter()
    really = hashlib.file_digest

    def count(file: BinaryIO, kind: str) -> Any:
        stat = os.fstat(file.fileno())
        digested[stat.st_ino, stat.st_mtime_ns] += 1
        return really(file, kind)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", count)
    everything = 0
    for statement in ("SELECT 1", "UPDATE domains SET company_name = 'y' WHERE id < 9"):
        execute(database, statement)
        digested.clear()
        manifest = export(configured).manifest
        assert set(digested.values()) == {1}
        everything = everything or len(digested)
        assert everything > sum(len(table.files) for table in manifest.tables)  # exports.duckdb too
    # What is taken over was published read-only, and nobody wrote to it since.
    assert 0 < len(digested) < everything
    digested.clear()
    assert run_export(configured) is None
    assert not digested
    # Once a day everything is read.
    kept = configured.export_dir / DIGESTS
    day_old = {key: (digest, at - 24 * 3600) for key, (digest, at) in json.loads(kept.read_bytes()).items()}
    kept.write_text(json.dumps(day_old))
    assert run_export(configured) is None
    assert len(digested) == sum(len(table.files) for table in manifest.tables) + 1 + len(manifest.extras)


@pytest.mark.parametrize("how", ["written to", "replaced", "may be written to"])
def test_a_snapshot_with_a_damaged_file_is_rebuilt(
    database: Database, exported: tuple[Settings, Snapshot], how: str
) -> None:
    """Its size stays; the time of writing, the file's number or its mode gives it away."""
    configured, first = exported
    victim = first.parquet_files("candidate_exports")[0]
    stat, content = victim.stat(), bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.chmod(0o644)
    if how == "replaced":
        victim.unlink()
    victim.write_bytes(content)
    if how != "written to":
        os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    if how != "may be written to":
        victim.chmod(0o444)
    second = export(configured)
    assert second.manifest.id != first.manifest.id
    assert second.manifest.base_snapshot is None
    assert_agrees(database, second)
    verify_snapshot(second)


def test_only_changed_segments_are_read_and_the_rest_are_links(
    database: Database, exported: tuple[Settings, Snapshot]
) -> None:
    configured, first = exported
    with database.connect() as connection:
        (domain_id,) = connection.execute("SELECT max(id) FROM domains").fetchone() or (0,)
    execute(database, f"UPDATE domains SET company_name = 'x' WHERE id = {domain_id}")
    second = export(configured)
    assert second.manifest.base_snapshot == first.manifest.id
    (changed,) = second.manifest.changed_segments
    assert len(second.manifest.tables[0].files) > 2
    for file in second.manifest.tables[0].files:
        is_link = (second.folder / file.path).stat().st_ino == (first.folder / file.path).stat().st_ino
        assert is_link == (not file.path.endswith(f"/{changed}.parquet"))
    assert second.database_path.stat().st_nlink == 1, "exports.duckdb is never a link"
    assert_agrees(database, second)
    verify_snapshot(second)


# Change, and the derived tables that depend on nothing of it.
WITHOUT_EFFECT = {
    "UPDATE domains SET retry_count = 5, error_message = 'x' WHERE id < 50":
        ["unique_domains", "entities", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE gleif_candidates SET weighted_score = 7 WHERE id < 50":
        ["unique_domains", "entities", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE domains SET company_name = 'other' WHERE id < 50":
        ["entities", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE gleif_candidates SET legal_form = 'x' WHERE id < 50":
        ["unique_domains", "batch_summaries", "jurisdiction_summaries"],
    "UPDATE domains SET processing_time_ms = 1 WHERE id < 50":
        ["unique_domains", "entities", "jurisdiction_summaries"],
}  # fmt: skip


@pytest.mark.parametrize("change", WITHOUT_EFFECT)
def test_derived_tables_that_depend_on_nothing_that_changed_are_links(
    database: Database, exported: tuple[Settings, Snapshot], change: str
) -> None:
    configured, first = exported
    execute(database, change)
    second = export(configured)
    assert second.manifest.base_snapshot == first.manifest.id
    taken_over = [
        table.name
        for table in DERIVED_TABLES
        if (second.parquet_files(table.name)[0].stat().st_ino == first.parquet_files(table.name)[0].stat().st_ino)
    ]
    assert taken_over == WITHOUT_EFFECT[change]
    assert_stated(first, second, taken_over)
    assert_agrees(database, second)


def assert_stated(first: Snapshot, second: Snapshot, taken_over: list[str]) -> None:
    """Each verdict says how many rows it stands for, who found it, and of how many rows."""
    for record in second.manifest.tables:
        assert {check.rows for check in record.checks} == {record.rows}
        unique = next(check for check in record.checks if check.name == "key_unique")
        assert unique.found_by == (first if record.name in taken_over else second).manifest.id
        checked = unique.metadata["rows_checked"]
        assert 0 < checked <= record.rows
        others = None if checked == record.rows else first.manifest.id
        assert unique.metadata.get("others_checked_before") == others


def test_only_rows_of_changed_keys_are_computed(database: Database, exported: tuple[Settings, Snapshot]) -> None:
    configured, _ = exported
    with database.connect() as connection:
        (domain_id,) = connection.execute(
            "SELECT min(domain_id) FROM gleif_candidates JOIN domains d ON d.id = domain_id"
            " WHERE trim(lei_code || legal_name || batch_id || status) > ''"
        ).fetchone() or (0,)
    execute(database, f"UPDATE gleif_candidates SET legal_name = 'another name' WHERE domain_id = {domain_id}")
    said: list[str] = []
    run_export(configured, on_progress=lambda progress: said.append(progress.what))
    counts = {
        name: int(what.split()[0]) for name, _, what in (text.partition(": ") for text in said) if "again" in what
    }
    assert counts.keys() == {table.name for table in DERIVED_TABLES}
    assert counts["unique_domains"] == 1
    assert 1 <= counts["entities"] <= 15
    assert counts["batch_summaries"] == counts["jurisdiction_summaries"] == 0


@pytest.fixture
def small_ranges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Key ranges of about 100 rows, as those of 200,000 are for a large source."""
    for build in (build_tables, build_derived_tables):
        monkeypatch.setattr(run_module, build.__name__, partial(build, range_rows=100))


@pytest.mark.usefixtures("small_ranges")
def test_only_key_ranges_with_a_changed_key_are_written_again(database: Database, tmp_path: Path) -> None:
    configured = settings_for(database, tmp_path / "exports", segment_size=SEGMENT)
    filled(database, rows=300)
    before = export(configured)
    assert all(len(before.record_of(name).files) > 5 for name in ("unique_domains", "entities"))
    changed_files = {}
    for what, statement in (
        ("one", "UPDATE domains SET status = 'other' WHERE id = (SELECT max(id) FROM domains"
                " WHERE trim(domain || batch_id || status) > '')"),
        ("gone", "DELETE FROM domains WHERE id IN (SELECT max(id) FROM domains)"),
        ("LEI", "UPDATE gleif_candidates SET lei_code = 'ZZZZ' WHERE id = (SELECT max(id) FROM gleif_candidates)"),
        ("more", "INSERT INTO domains (id, domain, status, batch_id)"
                 " SELECT 5000 + n, n || '.new', 'success', 'b' FROM generate_series(1, 3) AS n"),
    ):  # fmt: skip
        execute(database, statement)
        after = export(configured)
        assert after.manifest.base_snapshot == before.manifest.id
        for name in ("unique_domains", "entities"):
            old, new = before.record_of(name), after.record_of(name)
            assert old.cuts == new.cuts
            inodes = {path.stat().st_ino for path in before.parquet_files(name)}
            changed_files[what, name] = sum(path.stat().st_ino not in inodes for path in after.parquet_files(name))
        assert_agrees(database, after)
        before = after
    assert changed_files["one", "unique_domains"] == 1
    assert changed_files["one", "entities"] == 0
    assert changed_files["LEI", "entities"] <= 2
    assert 1 < changed_files["more", "unique_domains"] < len(before.record_of("unique_domains").files)
    # Three times the rows: the keys are cut again.
    execute(database, "INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name)"
                      " SELECT 100000 + 30 * d.id + n, d.id, 'L' || n, 'x'"
                      " FROM generate_series(1, 20) AS n, domains d WHERE d.id BETWEEN 0 AND 300")  # fmt: skip
    after = export(configured)
    assert len(after.record_of("unique_domains").cuts) > 2 * len(before.record_of("unique_domains").cuts)
    assert_agrees(database, after)
    verify_snapshot(after)


@pytest.mark.usefixtures("small_ranges")
def test_keys_are_cut_evenly_where_each_segment_has_leis_of_its_own(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a batch is of one country: its LEIs begin alike, and lie on neighbouring pages."""
    monkeypatch.setattr(building, "_SAMPLED_LEIS", 100)
    with database.connect() as connection:
        create_source_tables(connection)
        for statement in (
            "INSERT INTO domains (id, domain, batch_id, status)"
            " SELECT n, n || '.example', 'b' || n / 100, 'success' FROM generate_series(0, 999) AS n",
            "INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name) SELECT n, n / 2,"
            " chr(65 + n / 200) || lpad((n * 7919 % 2000)::text, 19, '0'), 'x' FROM generate_series(0, 1999) AS n",
        ):
            connection.execute(statement.encode())
    snapshot = export(settings_for(database, tmp_path, segment_size=SEGMENT))
    rows = [file.rows for file in snapshot.record_of("entities").files]
    assert len(rows) > 15
    assert max(rows) <= 3 * sum(rows) / len(rows)


@pytest.mark.parametrize("range_rows", [pytest.param(1, marks=pytest.mark.extended), 5, 60])
def test_more_changed_rows_than_fit_are_computed_as_a_whole(
    database: Database, exported: tuple[Settings, Snapshot], range_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The border lies at twice the rows of a key range: one table on this side, another on that one, in one run."""
    configured, _ = exported
    monkeypatch.setattr(run_module, "build_derived_tables", partial(build_derived_tables, range_rows=range_rows))
    execute(database, *CHANGES["rows deleted"], "UPDATE domains SET company_name = 'x' WHERE id < 20")
    assert_agrees(database, export(configured))


CHANGES = {
    "update without a timestamp": ["UPDATE domains SET retry_count = 77 WHERE id % 7 = 1"],
    "candidate updated": ["UPDATE gleif_candidates SET rank_position = 0 WHERE id % 50 = 3"],
    "rows deleted": ["DELETE FROM gleif_candidates WHERE id % 5 = 0", "DELETE FROM domains WHERE id % 31 = 0"],
    "candidate moved to another segment": ["UPDATE gleif_candidates SET domain_id = domain_id + 200 WHERE id % 9 = 0"],
    "candidate loses its domain": ["UPDATE gleif_candidates SET domain_id = NULL WHERE id % 40 = 0"],
    "a segment's rows all go": [
        "DELETE FROM domains WHERE id / 100 = 2", "DELETE FROM gleif_candidates WHERE domain_id / 100 = 2",
    ],
    "domains of a segment go, candidates stay": ["DELETE FROM domains WHERE id / 100 = 3"],
    "a new segment": ["INSERT INTO domains (id, domain, status, batch_id) VALUES (99999, 'n.example', 'success', 'n')"],
    "a segment below zero": ["INSERT INTO domains (id, domain, status, batch_id) VALUES (-5, 'n.x', 'failed', 'n')"],
    "rewritten": ["ALTER TABLE gleif_candidates ALTER COLUMN rank_position TYPE smallint USING (rank_position % 1000)"],
    "column dropped": ["ALTER TABLE domains DROP COLUMN recommendation, DROP COLUMN domain_hash"],
    "column added with a default": [
        "ALTER TABLE domains DROP COLUMN guessed_country",
        "ALTER TABLE domains ADD COLUMN guessed_country text DEFAULT 'NO'",
    ],
    "no candidate left": ["DELETE FROM gleif_candidates"],
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_after_a_change_the_result_is_that_of_a_full_refresh(
    database: Database, exported: tuple[Settings, Snapshot], change: str
) -> None:
    configured, first = exported
    execute(database, *CHANGES[change])
    second = export(configured.model_copy(update={"min_rows_pct": 0}))
    assert second.manifest.id != first.manifest.id
    assert_agrees(database, second)
    verify_snapshot(second)
    assert export(configured.model_copy(update={"min_rows_pct": 0})).manifest.id == second.manifest.id


def test_checks_of_content_speak_of_all_segments(database: Database, exported: tuple[Settings, Snapshot]) -> None:
    configured, _ = exported
    execute(database, "UPDATE domains SET level2_candidates_count = 99 WHERE id % 3 = 0")
    export(configured)
    execute(database, "UPDATE domains SET retry_count = 1 WHERE id < 100")
    partly = export(configured)
    whole = export(configured, full_refresh=True)
    assert partly.manifest.base_snapshot is not None
    for one, other in zip(partly.manifest.tables, whole.manifest.tables, strict=True):
        wanted = [(c.name, c.passed, c.rows, c.metadata) for c in other.checks if c.severity == "warn"]
        assert [(c.name, c.passed, c.rows, c.metadata) for c in one.checks if c.severity == "warn"] == wanted


@pytest.mark.parametrize(
    "other", [{"segment_size": 300}, {"include_full_data": True}], ids=["SEGMENT_SIZE", "INCLUDE_FULL_DATA"]
)
def test_a_setting_that_shapes_the_output_rebuilds_it(
    database: Database, exported: tuple[Settings, Snapshot], other: dict[str, Any]
) -> None:
    configured, first = exported
    second = export(configured.model_copy(update=other))
    assert second.manifest.id != first.manifest.id
    assert second.manifest.base_snapshot is None
    verify_snapshot(second)
