"""data/README.md is what the contracts say, and what the contracts say is complete."""

from pathlib import Path

import pytest

from pipelines.contracts.dictionary import render_dictionary
from pipelines.contracts.source import SOURCE_TABLES
from pipelines.contracts.tables import published_tables
from pipelines.contracts.views import VIEWS

pytestmark = pytest.mark.fast

DICTIONARY = Path(__file__).resolve().parents[2] / "data" / "README.md"
TABLES = published_tables(include_full_data=True)
NAMES = [table.name for table in (*TABLES, *VIEWS, *SOURCE_TABLES)]


def section(name: str) -> list[list[str]]:
    """The cells of the table under a heading."""
    text = render_dictionary().split(f"\n### {name}\n")[1].split("\n#")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.replace("\\|", "\0").strip("|").split("|")] for line in lines[2:]]


def test_it_does_not_drift() -> None:
    message = "the contracts changed: run `make dictionary` and look at the difference"
    assert DICTIONARY.read_text(encoding="utf-8") == render_dictionary(), message


def test_every_table_and_view_has_a_section() -> None:
    for name in NAMES:
        assert render_dictionary().count(f"\n### {name}\n") == 1


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_column_says_what_it_is(table) -> None:
    rows = section(table.name)
    assert [row[0].strip("*`") for row in rows] == list(table.columns)
    assert [row[0].strip("*`") for row in rows if "**" in row[0]] == [c for c in table.columns if c in table.key]
    assert [row[0].strip("*`") for row in rows if row[3] == "never"] == list(table.required)
    assert all(len(row) == 7 and row[1] and row[2] and row[6] for row in rows)


def test_a_column_by_hand() -> None:
    columns = {row[0].strip("*`"): row[1:] for row in section("batch_summaries")}
    assert columns["processing_time_ms_p95"] == [
        "Float64",
        "DOUBLE",
        "yes",
        "ms",
        "`domain_exports.processing_time_ms`",
        "95th percentile of processing_time_ms; NULL is left out",
    ]
    source = {row[0].strip("*`"): row[1:] for row in section("gleif_candidates")}
    assert source["weighted_score"][:3] == ["float4 (real), int4 and int2 up to 2^24", "Float32", ""]
    assert source["lei_code"][2] == "required"
