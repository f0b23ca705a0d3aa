"""The table snapshot_info of exports.duckdb: what the file says of itself, in one row.

In DuckDB only: it differs in every snapshot, and readers of Parquet have manifest.json with the same values.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Self

from pipelines.contracts.records import Manifest

SNAPSHOT_INFO = "snapshot_info"
INFO_DESCRIPTION = "One row: the snapshot that this file is of, with the values of its manifest.json."


class InfoColumn(NamedTuple):
    """A column: its DuckDB type and what it is."""

    kind: str
    description: str


# In the order of the attributes of SnapshotInfo. None is ever NULL.
INFO_COLUMNS = {
    "snapshot_id": InfoColumn("VARCHAR", "Id of the snapshot, the name of its folder"),
    "sequence": InfoColumn("BIGINT", "Its number: larger than that of every snapshot before it, whatever a clock says"),
    "source": InfoColumn("VARCHAR", "Identity of the database that was read, `sample` for the built-in one"),
    "instant": InfoColumn("TIMESTAMP", "The instant of that database that all tables show (UTC)"),
    "contract_version": InfoColumn("VARCHAR", "Version of the contract that tables and views keep"),
    "published_at": InfoColumn("TIMESTAMP", "When the snapshot was built, right before it was published (UTC)"),
}


@dataclass(frozen=True)
class SnapshotInfo:
    """The row. Times are UTC, with their zone."""

    snapshot_id: str
    sequence: int
    source: str
    instant: datetime
    contract_version: str
    published_at: datetime

    @classmethod
    def of(cls, manifest: Manifest) -> Self:
        """What the file of a snapshot must say."""
        return cls(
            snapshot_id=manifest.id,
            sequence=manifest.sequence,
            source=manifest.source.identity,
            instant=manifest.source.snapshot_at,
            contract_version=manifest.contract_version,
            published_at=manifest.created_at,
        )

    @property
    def values(self) -> tuple[str, ...]:
        """Its values as text, in the order of INFO_COLUMNS."""
        return tuple(_text(getattr(self, name)) for name in INFO_COLUMNS)


def _text(value: str | int | datetime) -> str:
    return value.astimezone(UTC).replace(tzinfo=None).isoformat(" ") if isinstance(value, datetime) else str(value)
