"""A complete staging with domain_exports and candidate_exports built, made of frames: no PostgreSQL, no Dagster."""

from pathlib import Path

import polars as pl

from pipelines.build.staging import StagingFolder
from pipelines.contracts.records import FileRecord, TableRecord
from pipelines.contracts.segments import segment_name
from pipelines.contracts.tables import segmented_tables
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.settings import Settings, load_settings
from pipelines.snapshots.parquet import write_parquet
from tests.publish.kit import new_id, staging_record

SEGMENT_SIZE = 10


def stage_tables(
    root: Path, domains: pl.DataFrame, candidates: pl.DataFrame, segment_size: int = SEGMENT_SIZE
) -> tuple[Settings, StagingFolder]:
    """Write both tables as a run leaves them, in segments of so many ids."""
    staging = StagingFolder(root / "staging" / new_id(1))
    staging.path.mkdir(parents=True)
    staging.write_record(staging_record(staging.staging_id, segment_size=segment_size))
    for table, frame in zip(segmented_tables(include_full_data=False)[:2], (domains, candidates), strict=True):
        folder = staging.start_table(table.name)
        rows = frame.sort(table.sort_by, nulls_last=True)
        segments = sorted({number // segment_size for number in rows["domain_id"]}) or [0]
        files: list[FileRecord] = []
        for segment in segments:
            path = folder / f"{segment_name(segment)}.parquet"
            own = rows.filter(pl.col("domain_id").floordiv(segment_size) == segment)
            files.append(write_parquet(own, path, table=table, segment=segment))
        staging.write_table_record(
            TableRecord(
                name=table.name,
                staging_id=staging.staging_id,
                contract_version=CONTRACT_VERSION,
                rows=rows.height,
                files=tuple(files),
                checks=(),
                timings_s={},
            )
        )
    return load_settings({"export_dir": root}), staging
