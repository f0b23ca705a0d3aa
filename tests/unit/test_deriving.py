"""The derived tables by key ranges: the same rows as without ranges, whatever their number; nothing left over."""

from datetime import datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from pipelines.build import key_ranges
from pipelines.build.derived_tables import build_derived_tables
from pipelines.contracts.tables import DERIVED_TABLES
from pipelines.errors import StagingError
from pipelines.progress import Progress
from pipelines.system.run_lock import hold_run_lock
from pipelines.transform import entities
from tests.oracle.kit import rows_of
from tests.unit.staged import stage_tables
from tests.unit.tables import candidate, derive, domain, with_candidates

pytestmark = pytest.mark.fast

NAMES = [table.name for table in DERIVED_TABLES]
EPOCH = datetime(2026, 1, 1)  # noqa: DTZ001  UTC without zone
CODES = [
    "",
    "A",
    "AB",
    "5493001KJTIIGC8Y1R12",
    "5493001KJTIIGC8Y1R13",
    "00000000000000000000",
    "\u00e9",
    "\U0001f3e6",
    "z",
]


def read(root: Path, name: str) -> pl.DataFrame:
    return pl.concat(pl.read_parquet(path) for path in sorted(root.glob(f"staging/*/tables/{name}/*.parquet")))


def assert_derived(domains: pl.DataFrame, candidates: pl.DataFrame, range_rows: int) -> list[Progress]:
    """Range by range through files gives the rows of the rules on whole frames."""
    said: list[Progress] = []
    with TemporaryDirectory() as folder:
        root = Path(folder)
        options, staging = stage_tables(root, domains, candidates)
        with hold_run_lock(root) as lock:
            records = build_derived_tables(options, lock, None, said.append, range_rows=range_rows)
        assert [record.name for record in records] == NAMES
        assert sorted(path.name for path in staging.path.iterdir()) == ["staging.json", "tables"]
        for record in records:
            assert [(check.name, check.metadata) for check in record.checks if not check.passed] == []
            expected = derive(domains, candidates)[record.name]
            assert_frame_equal(read(root, record.name), expected, check_exact=False, rel_tol=1e-12, abs_tol=0.0)
            assert record.rows == expected.height
    return said


def some_rows(count: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    rows = [
        domain(
            number,
            f"D{number % 23}.example",
            f"batch {number % 5}",
            status=("success", "failed", "odd")[number % 3],
            confidence_score=number / 7,
            processing_time_ms=number * number,
            created_at=EPOCH + timedelta(days=number % 11),
        )
        for number in range(-count // 2, count // 2)
    ]
    found = [
        candidate(
            index * 7 + rank,
            row,
            f"{(index * rank) % 31:04d}" + "X" * (rank % 3),
            jurisdiction=(None, "NO", "US-DE", "")[(index + rank) % 4],
            rank_position=rank or None,
            created_at=EPOCH + timedelta(hours=(index * rank) % 5),
            is_primary_selection=rank == 1,
        )
        for index, row in enumerate(rows)
        for rank in range(index % 6)
    ]
    candidates = rows_of("candidate_exports", *found).unique(["domain_id", "lei_code"], keep="first")
    candidates = candidates.sort("domain_id", "rank_position", "candidate_id", nulls_last=True)
    return with_candidates(rows_of("domain_exports", *rows), candidates), candidates


@pytest.mark.parametrize(("range_rows", "rows_at_a_time"), [(1, 1), (7, 10), (7, 50_000), (40, 60), (1000, 5)])
def test_ranges_change_nothing(range_rows: int, rows_at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the rows of a segment are converted piece by piece, in groups or at once."""
    monkeypatch.setattr(key_ranges, "_ROWS_AT_A_TIME", rows_at_a_time)
    domains, candidates = some_rows(60)
    said = assert_derived(domains, candidates, range_rows)
    assert said[-1].done == said[-1].total
    # One range of hashes for so many rows, and as many of LEIs where there are so many LEIs.
    ranges = -(-candidates.height // range_rows)
    assert ranges < said[-1].total <= 2 * ranges


def test_tables_without_rows() -> None:
    assert_derived(rows_of("domain_exports"), rows_of("candidate_exports"), 10)


def test_domains_without_candidates() -> None:
    assert_derived(
        rows_of("domain_exports", *(domain(n, f"{n}.example") for n in range(25))), rows_of("candidate_exports"), 5
    )


def test_one_lei_under_every_domain_is_in_one_range_and_the_others_are_empty() -> None:
    domains = [domain(number, f"{number}.example") for number in range(30)]
    candidates = rows_of("candidate_exports", *(candidate(n, row) for n, row in enumerate(domains)))
    assert_derived(with_candidates(rows_of("domain_exports", *domains), candidates), candidates, 3)


@pytest.mark.parametrize("range_rows", [20, 1000])
def test_texts_of_usual_columns_may_be_long_and_never_repeat(range_rows: int) -> None:
    """The first few segments hold what usually repeats, 2 MB later it is another text in each row."""
    rows = [
        domain(
            number,
            f"{number % 90}.example",
            "batch" if number < 50 else f"{number}b" * 3_000,
            status="success" if number < 80 else f"{number}s" * 3_000,
            guessed_country=(None, "NO")[number % 2] if number < 300 else f"{number}c" * 3_000,
        )
        for number in range(420)
    ]
    candidates = rows_of(
        "candidate_exports",
        *(
            candidate(number, row, f"L{number % 40}", jurisdiction=f"{number}j" * 3_000, legal_form=f"{number % 3}")
            for number, row in enumerate(rows)
            if number % 3
        ),
    )
    assert_derived(with_candidates(rows_of("domain_exports", *rows), candidates), candidates, range_rows)


@st.composite
def tables(draw: st.DrawFn) -> tuple[pl.DataFrame, pl.DataFrame]:
    times = st.none() | st.integers(0, 3).map(lambda day: EPOCH + timedelta(days=day))
    rows: list[dict[str, Any]] = [
        domain(
            draw(st.integers(0, 3)) + number * 4,
            draw(st.sampled_from(["a", "B", " b", "c\u3000", "\u0130", "x y"])),
            draw(st.sampled_from(["b1", "", "-2"])),
            status=draw(st.sampled_from(["success", "failed", "pending", "other"])),
            final_confidence=draw(st.none() | st.integers(0, 2)),
            confidence_score=draw(st.none() | st.floats(0, 100, width=32)),
            processing_time_ms=draw(st.none() | st.integers(0, 10)),
            created_at=draw(times),
            processed_at=draw(times),
        )
        for number in range(draw(st.integers(0, 12)))
    ]
    found = []
    for row in rows:
        # As the application spells a domain differs; its hash is that of the normalized one.
        for code in draw(st.lists(st.sampled_from(CODES), unique=True, max_size=4)):
            more = {
                "legal_name": draw(st.sampled_from(["N", "M; O", "\u00e9"])),
                "jurisdiction": draw(st.sampled_from([None, "NA", "unknown", ""])),
                "entity_status": draw(st.sampled_from([None, "ACTIVE"])),
                "rank_position": draw(st.none() | st.integers(-1, 2)),
                "is_primary_selection": draw(st.none() | st.booleans()),
                "created_at": draw(times),
            }
            found.append(candidate(len(found), row, code, **more))
    candidates = rows_of("candidate_exports", *found).sort(
        "domain_id", "rank_position", "candidate_id", nulls_last=True
    )
    return with_candidates(rows_of("domain_exports", *rows), candidates), candidates


@pytest.mark.parametrize(
    "examples",
    [pytest.param(12, marks=pytest.mark.standard), pytest.param(100, marks=pytest.mark.extended)],
)
def test_any_rows_in_any_ranges(examples: int) -> None:
    @settings(max_examples=examples, suppress_health_check=[HealthCheck.too_slow])
    @given(tables(), st.integers(1, 12))
    def derive_the_same(frames: tuple[pl.DataFrame, pl.DataFrame], range_rows: int) -> None:
        assert_derived(*frames, range_rows)

    derive_the_same()


@pytest.mark.parametrize("name", NAMES)
def test_one_table_alone_is_the_same(tmp_path: Path, name: str) -> None:
    domains, candidates = some_rows(40)
    options, _ = stage_tables(tmp_path, domains, candidates)
    with hold_run_lock(tmp_path) as lock:
        (record,) = build_derived_tables(options, lock, [name], range_rows=20)
    assert record.name == name
    assert all(check.passed for check in record.checks)
    assert_frame_equal(read(tmp_path, name), derive(domains, candidates)[name], check_exact=False, rel_tol=1e-12)


@pytest.mark.parametrize("missing", ["domain_exports", "candidate_exports"])
def test_what_is_not_built_is_named(tmp_path: Path, missing: str) -> None:
    options, staging = stage_tables(tmp_path, *some_rows(10))
    staging.start_table(missing)
    with hold_run_lock(tmp_path) as lock, pytest.raises(StagingError, match=f"materialize exports/{missing} first"):
        build_derived_tables(options, lock, ["entities"])


def test_nothing_wanted_needs_nothing(tmp_path: Path) -> None:
    options, staging = stage_tables(tmp_path, *some_rows(10))
    staging.start_table("domain_exports")
    with hold_run_lock(tmp_path) as lock:
        assert build_derived_tables(options, lock, []) == []


def test_a_failure_leaves_no_pieces_and_no_finished_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options, staging = stage_tables(tmp_path, *some_rows(30))

    def fail(_: pl.LazyFrame) -> pl.LazyFrame:
        raise RuntimeError("half-way")

    monkeypatch.setattr(entities, "build_entities", fail)
    with hold_run_lock(tmp_path) as lock, pytest.raises(RuntimeError, match="half-way"):
        build_derived_tables(options, lock, range_rows=10)
    assert not staging.keys_dir.exists()
    assert all(staging.read_table_record(name) is None for name in NAMES)


def test_a_file_has_the_keys_of_its_range(tmp_path: Path) -> None:
    options, staging = stage_tables(tmp_path, *some_rows(60))
    with hold_run_lock(tmp_path) as lock:
        records = build_derived_tables(options, lock, ["unique_domains", "entities"], range_rows=9)
    for record, key in zip(records, ("domain_hash", "lei_code"), strict=True):
        assert len(record.files) > 2
        bounds = [None, *record.cuts, None]
        for file in record.files:
            assert file.segment is not None
            keys = pl.read_parquet(staging.tables_dir / file.path)[key]
            low, high = bounds[file.segment : file.segment + 2]
            assert Path(file.path).name == f"{file.segment:04d}.parquet"
            assert low is None or (keys >= low).all()
            assert high is None or (keys < high).all()


def test_the_same_rows_give_the_same_files(tmp_path: Path) -> None:
    frames = some_rows(60)
    digests = []
    for name in ("one", "two"):
        root = tmp_path / name
        options, _ = stage_tables(root, *frames)
        with hold_run_lock(root) as lock:
            records = build_derived_tables(options, lock, range_rows=9)
        digests.append({file.path: file.sha256 for record in records for file in record.files})
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    ("rows", "ranges"),
    [(0, 1), (200_000, 1), (200_001, 2), (25_000_000, 125), (50_000_000, 125), (60_000_000, 150), (10**9, 1024)],
)
def test_ranges_become_larger_before_they_become_many(rows: int, ranges: int) -> None:
    assert key_ranges.range_count(rows) == ranges
