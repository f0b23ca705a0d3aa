"""The files of one staging.

    $EXPORT_DIR/staging/
      latest                      id of the last complete staging
      .<id>.<run>.claim           the run that works in the folder; only that run writes there (system/run_lock.py)
      <id>/
        source/<table>-<number>.arrow    source rows of one page range, a piece for each segment; index.bin: where
        keys/<segment>.arrow      rows for the derived tables, a piece for each key range; index.bin: where they are
        staging.json              StagingRecord; written last, so that a staging without it is incomplete
        tables/<table>/           Parquet files built from it, and table.json (TableRecord), written last

Staged files are not synced: one that a power cut leaves truncated or with zeros has another CRC-32 than the index says
(pieces.py). It is found when it is read, and the run ends with an error; the next one stages again.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
from pydantic import ValidationError

from pipelines.build.pieces import PieceIndex, read_pieces
from pipelines.contracts.records import StagingRecord, TableRecord
from pipelines.contracts.source import SourceTable, source_columns, staged_schema
from pipelines.errors import StagingError
from pipelines.system.files import written_beside

_RECORD = "staging.json"
_TABLE_RECORD = "table.json"
LATEST = "latest"
_INDEX = "index.bin"
_CUTS = "cuts.json"


class StagingFolder:
    """One staging folder.

    Attributes:
        path: The folder; its name is the staging id.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def staging_id(self) -> str:
        """Id of the staging."""
        return self.path.name

    @property
    def tables_dir(self) -> Path:
        """Folder of the tables built from this staging."""
        return self.path / "tables"

    @property
    def source_dir(self) -> Path:
        """Folder of the source rows."""
        return self.path / "source"

    @property
    def keys_dir(self) -> Path:
        """Folder of the rows that derived tables are computed from."""
        return self.path / "keys"

    def is_complete(self) -> bool:
        """Whether the extraction of this staging ended."""
        return (self.path / _RECORD).is_file()

    def read_record(self) -> StagingRecord:
        """What was staged.

        Raises:
            StagingError: The staging is not complete, or its record can't be read.
        """
        try:
            return StagingRecord.model_validate_json((self.path / _RECORD).read_bytes())
        except (OSError, ValidationError) as error:
            raise StagingError(
                f"Staging {self.staging_id} has no usable {_RECORD}",
                found=type(error).__name__,
                fix="run the export again: it stages again",
            ) from None

    def write_record(self, record: StagingRecord) -> None:
        """Declare the staging complete, and the latest one.

        Raises:
            StagingError: Its files can't be written.
        """
        with writing(self.path):
            _replace(self.path / _RECORD, record.model_dump_json(indent=1))
            _replace(self.path.parent / LATEST, self.staging_id)

    def start_source(self) -> None:
        """Make the folder of the source rows.

        Raises:
            StagingError: It can't be made.
        """
        with writing(self.path):
            self.source_dir.mkdir(parents=True, exist_ok=True)

    def write_source_index(self, index: PieceIndex) -> None:
        """Write where the source rows of each segment are.

        Raises:
            StagingError: It can't be written.
        """
        with writing(self.path):
            index.write(self.source_dir / _INDEX)

    def read_source_index(self) -> PieceIndex:
        """Where the source rows of each segment are.

        Raises:
            StagingError: The index is missing or damaged.
        """
        path = self.source_dir / _INDEX
        try:
            return PieceIndex.read(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise damaged(self.staging_id, path, type(error).__name__) from None

    def read_source(self, table: SourceTable, pieces: pl.DataFrame, *, include_full_data: bool) -> pl.DataFrame:
        """Source rows of one segment, in no order.

        Args:
            pieces: Their part of the index.

        Returns:
            The staged columns (contracts/source.py); no row where the segment has none.

        Raises:
            StagingError: A file is missing, damaged, or has other rows than staged.
        """
        schema = staged_schema(source_columns(table, include_full_data=include_full_data))
        try:
            return read_pieces(self.source_dir, pieces, schema)
        except (OSError, pa.ArrowException) as error:
            raise damaged(self.staging_id, self.source_dir / table.name, type(error).__name__) from None

    def start_keys(self) -> None:
        """Make an empty folder for the rows by key range; former ones are gone.

        Raises:
            StagingError: It can't be made.
        """
        self.remove_keys()
        with writing(self.path):
            self.keys_dir.mkdir(parents=True)

    def write_keys(self, cuts: str, index: PieceIndex) -> None:
        """Declare the rows by key range complete.

        Args:
            cuts: How the keys are cut, as JSON.
            index: Where the rows of each range are.

        Raises:
            StagingError: A file can't be written.
        """
        with writing(self.path):
            _replace(self.keys_dir / _CUTS, cuts)
            index.write(self.keys_dir / _INDEX)

    def read_keys(self) -> tuple[str, PieceIndex] | None:
        """What `write_keys` wrote; None where it is not there, or can't be read."""
        try:
            cuts = (self.keys_dir / _CUTS).read_text(encoding="utf-8")
            json.loads(cuts)
            return cuts, PieceIndex.read(self.keys_dir / _INDEX)
        except (OSError, ValueError, pl.exceptions.PolarsError):
            return None

    def remove_keys(self) -> None:
        """Remove the rows by key range: the derived tables are built."""
        shutil.rmtree(self.keys_dir, ignore_errors=True)

    def start_table(self, table: str) -> Path:
        """Make an empty folder for a table's files; a former build of it is gone.

        Raises:
            StagingError: It can't be made.
        """
        folder = self.tables_dir / table
        shutil.rmtree(folder, ignore_errors=True)
        with writing(self.path):
            folder.mkdir(parents=True)
        return folder

    def write_table_record(self, record: TableRecord) -> None:
        """Declare a table built.

        Raises:
            StagingError: Its record can't be written.
        """
        with writing(self.path):
            _replace(self.tables_dir / record.name / _TABLE_RECORD, record.model_dump_json(indent=1))

    def read_table_record(self, table: str) -> TableRecord | None:
        """The record of a built table; None where it is not built from this staging."""
        try:
            return TableRecord.model_validate_json((self.tables_dir / table / _TABLE_RECORD).read_bytes())
        except (OSError, ValidationError):
            return None


def _replace(path: Path, text: str) -> None:
    with written_beside(path, is_synced=False) as beside:
        beside.write_text(text, encoding="utf-8")


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Write to the folder of a staging.

    Raises:
        StagingError: The body raised OSError.
    """
    try:
        yield
    except OSError as error:
        raise StagingError(
            f"{path} can't be written",
            expected="a folder with room that this user may write to",
            found=error.strerror or type(error).__name__,
            fix="make room, make the folder writable, or set EXPORT_DIR to another one",
        ) from None


def damaged(staging_id: str, path: Path, found: str) -> StagingError:
    """What to say of a staging whose file can't be read."""
    return StagingError(
        f"Staging {staging_id} is damaged: {path.parent.name}/{path.name}",
        expected="the rows that were staged",
        found=found,
        fix="run the export again: it stages again",
    )
