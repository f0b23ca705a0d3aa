"""Segments have a sensible number of rows whatever the ids are, and stay where they are (contracts/segments.py)."""

import random
from pathlib import Path
from typing import Any

import pytest

from pipelines.contracts.segments import segment_name
from pipelines.settings import Settings
from pipelines.snapshots.opening import Snapshot
from pipelines.snapshots.verification import verify_snapshot
from tests.exporting import assert_agrees, export, settings_for
from tests.integration.test_incremental import execute
from tests.oracle.postgres import Database
from tests.oracle.source import fill_source

pytestmark = [pytest.mark.integration, pytest.mark.standard]

SEGMENT = 100
INT_MIN, INT_MAX = -(2**31), 2**31 - 1


def fill(database: Database, ids: list[int], owners: list[int | None] | None = None) -> None:
    """Domain rows with these ids, and a candidate for each owner; without owners, one for each domain row."""
    domains = [{"id": n, "domain": f"d{n}.example", "status": "success", "batch_id": "b"} for n in ids]
    candidates: list[dict[str, Any]] = [
        {"id": n, "domain_id": owner, "lei_code": f"L{n}", "legal_name": f"N{n}"}
        for n, owner in enumerate(ids if owners is None else owners)
    ]
    fill_source(database, domains, candidates)


def settings_of(database: Database, tmp_path: Path) -> Settings:
    return settings_for(database, tmp_path, segment_size=SEGMENT, min_rows_pct=0)


def rows_by_segment(snapshot: Snapshot, table: str = "domain_exports") -> dict[str, int]:
    return {Path(file.path).stem: file.rows for file in snapshot.record_of(table).files}


def inodes(snapshot: Snapshot) -> dict[str, int]:
    files = snapshot.record_of("domain_exports").files
    return {Path(file.path).stem: (snapshot.folder / file.path).stat().st_ino for file in files}


def spread(count: int) -> list[int]:
    chance = random.Random(7)  # noqa: S311
    return [INT_MIN, INT_MAX, *chance.sample(range(INT_MIN + 1, INT_MAX), count - 2)]


def test_ids_spread_over_all_numbers_give_full_segments(database: Database, tmp_path: Path) -> None:
    fill(database, spread(1_000))
    configured = settings_of(database, tmp_path)
    first = export(configured)
    assert len(first.manifest.segment_numbers) <= 2 * 1_000 / SEGMENT
    assert max(rows_by_segment(first).values()) <= SEGMENT
    assert_agrees(database, first)
    verify_snapshot(first)
    assert export(configured).manifest.id == first.manifest.id
    execute(database, "INSERT INTO domains (id, domain, status, batch_id) VALUES (77, 'n.example', 'failed', 'b')")
    second = export(configured)
    assert len(second.manifest.changed_segments) <= 2
    links = [name for name, inode in inodes(second).items() if inodes(first).get(name) == inode]
    assert len(links) >= len(inodes(first)) - 1
    assert_agrees(database, second)


def test_dense_ids_beside_sparse_ones_keep_their_segments(database: Database, tmp_path: Path) -> None:
    fill(database, [*range(1, 1_001), *(n for n in spread(300) if not 0 < n <= 1_000)])
    snapshot = export(settings_of(database, tmp_path))
    rows = rows_by_segment(snapshot)
    assert all(rows[segment_name(number)] == SEGMENT for number in range(1, 10))
    assert max(rows.values()) <= SEGMENT
    assert len(rows) <= 1_000 / SEGMENT + 2 * 300 / SEGMENT + 2
    assert_agrees(database, snapshot)


def test_candidates_of_no_domain_row_are_cut_as_well(database: Database, tmp_path: Path) -> None:
    fill(database, list(range(1, 51)), [*range(1, 51), *spread(3_000), None])
    snapshot = export(settings_of(database, tmp_path))
    assert 3 <= len(snapshot.manifest.segment_numbers) <= 2 * 3_000 / (10 * SEGMENT)
    assert snapshot.record_of("rejected_rows").rows == 3_001 - len({1, 50} & set(spread(3_000)))
    assert_agrees(database, snapshot)


def test_a_segment_that_grows_is_cut_and_its_old_rows_are_not_read_again(database: Database, tmp_path: Path) -> None:
    fill(database, list(range(1, 250)))
    configured = settings_of(database, tmp_path)
    first = export(configured)
    assert list(rows_by_segment(first)) == ["000000", "000001", "000002"]
    execute(
        database,
        "INSERT INTO domains (id, domain, status, batch_id)"
        " SELECT n, 'd' || n || '.example', 'success', 'b' FROM generate_series(300, 499) AS n",
    )
    second = export(configured)
    assert second.manifest.changed_segments == ("000003", "000004")
    assert {name: rows_by_segment(second)[name] for name in ("000002", "000003", "000004")} == {
        "000002": 50,
        "000003": 100,
        "000004": 100,
    }
    assert all(inodes(second)[name] == inode for name, inode in inodes(first).items())
    execute(
        database,
        "INSERT INTO domains (id, domain, status, batch_id)"
        " SELECT n, 'e' || n || '.example', 'success', 'b' FROM generate_series(-250, -1) AS n",
    )
    third = export(configured)
    assert third.manifest.changed_segments == ("-999997", "-999998", "-999999")
    assert_agrees(database, third)
    verify_snapshot(third)
    # Far fewer rows: the cuts stay until everything is read.
    execute(database, "DELETE FROM domains WHERE id % 10 <> 0")
    fourth = export(configured)
    assert fourth.manifest.segment_numbers == third.manifest.segment_numbers
    whole = export(configured, full_refresh=True)
    assert len(whole.manifest.segment_numbers) == 1
    assert_agrees(database, whole)


def test_a_segment_that_grows_inside_is_cut(database: Database, tmp_path: Path) -> None:
    fill(database, [n * 1_000 for n in range(250)])
    configured = settings_of(database, tmp_path)
    first = export(configured)
    assert len(first.manifest.segment_numbers) == 3
    execute(
        database,
        "INSERT INTO domains (id, domain, status, batch_id)"
        " SELECT n, 'd' || n || '.example', 'success', 'b' FROM generate_series(20001, 20250) AS n",
    )
    second = export(configured)
    assert second.manifest.segment_numbers[0] == 0
    assert set(first.manifest.segment_numbers) < set(second.manifest.segment_numbers)
    assert max(rows_by_segment(second).values()) <= SEGMENT
    assert_agrees(database, second)
    verify_snapshot(second)
