"""Published numbers are safe to compute with, whatever reads them (DESIGN 4, types)."""

from pathlib import Path

import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from pipelines.contracts.tables import BATCH_SUMMARIES, UNIQUE_DOMAINS, Table
from pipelines.snapshots.database import build_database
from pipelines.snapshots.parquet import write_parquet
from tests.oracle.kit import rows_of
from tests.publish.kit import in_duckdb
from tests.unit.tables import candidate, derive, domain

pytestmark = pytest.mark.fast


@pytest.mark.parametrize("table", [UNIQUE_DOMAINS, BATCH_SUMMARIES], ids=lambda table: table.name)
def test_a_difference_of_counts_may_be_negative(tmp_path: Path, table: Table) -> None:
    domains = [domain(1), domain(2), domain(3, status="failed")]
    rows = derive(rows_of("domain_exports", *domains), rows_of("candidate_exports", candidate(1, domains[0])))
    path = tmp_path / "all.parquet"
    write_parquet(rows[table.name], path, table=table, segment=None)
    build_database(tmp_path / "e.duckdb", [table], {table.name: [path]})
    difference = "failed_count - success_count"
    assert in_duckdb(f"SELECT {difference} AS d FROM {table.name}", tmp_path / "e.duckdb")["d"].to_list() == [-1]
    assert in_duckdb(f"SELECT {difference} AS d FROM '{path}'")["d"].to_list() == [-1]
    frame = pl.read_parquet(path)
    assert (frame["failed_count"] - frame["success_count"]).to_list() == [-1]
    data = pd.read_parquet(path)
    assert (data["failed_count"] - data["success_count"]).tolist() == [-1]
    arrow = pq.read_table(path)
    assert not [f.name for f in arrow.schema if str(f.type).startswith("uint")]  # Spark before 3.2 refuses them
