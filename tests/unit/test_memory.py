"""Memory of the derived tables, measured: odd data does not raise it."""

from pathlib import Path

import polars as pl
import pytest

from tests.memory import peak_bytes
from tests.oracle.expected import SCHEMAS
from tests.unit.staged import stage_tables

pytestmark = pytest.mark.fast

DERIVE = """
import sys
from pathlib import Path
from pipelines.build.derived_tables import build_derived_tables
from pipelines.settings import load_settings
from pipelines.system.run_lock import hold_run_lock
with hold_run_lock(Path(sys.argv[1])) as lock:
    settings = load_settings({"export_dir": Path(sys.argv[1])})
    records = build_derived_tables(settings, lock, sys.argv[2:], range_rows=2_000)
assert all(check.passed for record in records for check in record.checks), records
"""
ROWS, CHARACTERS, SEGMENT_SIZE = 90_000, 500, 1_000


def of_table(table: str, **columns: pl.Series) -> pl.DataFrame:
    """Rows of a table; columns that are not named are NULL."""
    null = pl.repeat(None, ROWS, eager=True)
    return pl.DataFrame({name: columns.get(name, null).cast(dtype) for name, dtype in SCHEMAS[table].items()})


def rows_without_repetition() -> tuple[pl.DataFrame, pl.DataFrame]:
    """Domains with a candidate each; each text that usually repeats is another one in each row, and long."""
    numbers = pl.int_range(ROWS, dtype=pl.Int64, eager=True)
    names, text = numbers.cast(pl.String) + ".example", numbers.cast(pl.String) + "x" * CHARACTERS
    shared = {
        "domain_id": numbers,
        "domain": names,
        "domain_hash": pl.Series([f"{number:032x}" for number in numbers]),
        "batch_id": text,
    }
    empty = pl.repeat("", ROWS, eager=True)
    domains = of_table(
        "domain_exports",
        **shared,
        **dict.fromkeys(("status", "guessed_country"), text),
        **{name: empty for name in SCHEMAS["domain_exports"] if name.startswith("all_")},
        gleif_candidate_count=pl.repeat(1, ROWS, eager=True),
        lei_codes=pl.repeat("", ROWS, eager=True).reshape((-1, 1)).arr.to_list(),
    )
    candidates = of_table(
        "candidate_exports",
        **shared,
        **dict.fromkeys(("jurisdiction", "entity_status", "registration_status", "legal_form"), text),
        candidate_id=numbers,
        entity_category=text,
        lei_code=numbers.cast(pl.String),
        legal_name=names,
        is_valid_lei=pl.repeat(False, ROWS, eager=True),
    )
    return domains, candidates


def test_texts_that_do_not_repeat_are_not_kept(tmp_path: Path) -> None:
    """About 500 MB, most of it the tables themselves and freed memory; 4,590 where all distinct texts are kept."""
    stage_tables(tmp_path, *rows_without_repetition(), SEGMENT_SIZE)
    assert peak_bytes(DERIVE, str(tmp_path), "batch_summaries", "jurisdiction_summaries") < 1_000 << 20
