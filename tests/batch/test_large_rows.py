"""Rows that do not fit in the memory of a chunk: the same file in less memory, or a clear error."""

import io

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from pipelines.errors import AnswerTooLargeError
from pipelines.query.batch.batches import open_batch
from pipelines.query.batch.files import BatchFormat, encode_batch
from pipelines.snapshots.opening import Snapshot
from tests.exporting import export, settings_for
from tests.integration.kit import run_sql
from tests.memory import HUGE, HUGE_MB, peak_bytes
from tests.oracle.postgres import Cluster, Database
from tests.oracle.source import fill_source

pytestmark = [pytest.mark.integration, pytest.mark.extended]

AWKWARD = '=1+1,"q"\\\u0001\t\r\n é \U0001f4be \u2028 '
LEAST_MB = 64
WRITE = """
import sys
from pathlib import Path
from pipelines.errors import AnswerTooLargeError
from pipelines.query.batch.batches import open_batch
from pipelines.query.batch.files import BatchFormat, encode_batch
from pipelines.snapshots.opening import current_snapshot
with open_batch(current_snapshot(Path(sys.argv[1])), "b", int(sys.argv[3])) as batch, open("/dev/null", "wb") as file:
    try:
        for part in [None]:
            encode_batch(batch, BatchFormat(sys.argv[2]), file)
    except AnswerTooLargeError:
        print("too large")
"""


def fill(database: Database) -> None:
    """Every text column of a row, a candidate's, one among many candidates, and rows beside these."""
    numbers = range(10)
    domains = [
        {"id": n, "domain": f"d{n}.example", "status": "success", "batch_id": "b", "confidence_score": 85.3}
        for n in numbers
    ]
    domains[2] |= {"company_name": AWKWARD * 300_000, "error_message": "x" * 40_000}
    domains[4] |= {"about_section_summary": "é" * 3_000_000, "technical_details": "\r" + "y" * 5_000_000}
    candidates = [
        {"id": 10 * n + rank, "domain_id": n, "lei_code": f"L{n}{rank}", "legal_name": "N", "rank_position": 9 - rank}
        for n in numbers
        for rank in range(3)
    ]
    candidates[7]["selection_reason"] = AWKWARD * 300_000
    candidates[19]["legal_name"] = "n" * 5_000_000
    candidates += [
        {"id": 1_000 + k, "domain_id": 8, "lei_code": f"M{k:05}", "legal_name": "N" * 900} for k in range(6_000)
    ]
    fill_source(database, domains, candidates)


@pytest.fixture(scope="module")
def large(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    with cluster.new_database() as database:
        fill(database)
        return export(settings_for(database, tmp_path_factory.mktemp("large")))


def written(snapshot: Snapshot, batch_format: BatchFormat, memory_mb: int) -> bytes:
    with open_batch(snapshot, "b", memory_mb) as batch, io.BytesIO() as target:
        encode_batch(batch, batch_format, target)
        return target.getvalue()


@pytest.mark.parametrize("batch_format", [BatchFormat.CSV, BatchFormat.JSON, BatchFormat.NDJSON, BatchFormat.XLSX])
def test_a_row_that_is_read_in_pieces_is_the_same_to_the_byte(large: Snapshot, batch_format: BatchFormat) -> None:
    assert written(large, batch_format, LEAST_MB) == written(large, batch_format, 4_096)


def test_parquet_is_the_same_or_refused(large: Snapshot) -> None:
    """A value of Parquet is written as a whole."""
    little, much = (io.BytesIO(written(large, BatchFormat.PARQUET, memory_mb)) for memory_mb in (512, 4_096))
    assert_frame_equal(pl.read_parquet(little), pl.read_parquet(much))
    with pytest.raises(AnswerTooLargeError, match=r"Row \d of domains needs more memory than there is") as caught:
        written(large, BatchFormat.PARQUET, LEAST_MB)
    assert f"--memory-mb = {LEAST_MB} MB" in caught.value.expected


@pytest.fixture(scope="module")
def huge(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Snapshot:
    with cluster.new_database() as database:
        fill_source(database)
        run_sql(database, *HUGE)
        return export(settings_for(database, tmp_path_factory.mktemp("huge"), database_memory_mb=HUGE_MB))


@pytest.fixture(scope="module")
def of_the_program() -> int:
    """What it takes before it reads anything."""
    return peak_bytes("import pipelines.query.batch.files, pyarrow.parquet, xlsxwriter, polars")


@pytest.mark.extended
@pytest.mark.parametrize(
    ("batch_format", "memory_mb", "outcome"),
    [
        ("csv", 256, "written"),
        ("json", 1_024, "written"),
        ("json", 256, "refused"),
        ("xlsx", 1_024, "written"),
        ("parquet", 1_024, "refused"),
    ],
)
def test_a_text_of_200_mb_takes_no_more_memory_than_there_may_be(
    huge: Snapshot, of_the_program: int, batch_format: str, memory_mb: int, outcome: str
) -> None:
    """As JSON it takes 330 MB of 1,024. CSV has no column of it."""
    arguments = (str(huge.folder.parents[1]), batch_format, str(memory_mb), outcome)
    assert peak_bytes(WRITE, *arguments) - of_the_program < memory_mb << 20
