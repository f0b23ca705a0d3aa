"""What `current` pointed at and when, whether a rollback holds it, when the source was last looked at (DESIGN 4)."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError

from pipelines.errors import SnapshotError

HOLD = "rollback.json"
SWITCHES = "switches.jsonl"
LAST_CHECKED = "last_checked.json"
FAILED_RUN = "last_failed_run.json"
# How far the clocks of the machines that write and read these files may be apart.
CLOCK_SKEW = timedelta(minutes=5)
SwitchReason = Literal["published", "rollback", "release", "completed", "pulled"]
SourceCheckResult = Literal["published", "held", "unchanged"]
_Record = TypeVar("_Record", bound=BaseModel)
_FROM = AliasChoices("from", "previous")  # a keyword in Python, the plainest word in the files


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class RollbackHold(_Line):
    """An operator rolled back: runs build new snapshots, but do not switch to them.

    Attributes:
        held_at: Since when, UTC.
        snapshot_id: The snapshot that `current` points at meanwhile.
        previous: The one that it pointed at before; `from` in the file.
    """

    held_at: datetime
    snapshot_id: str
    previous: str | None = Field(validation_alias=_FROM, serialization_alias="from")


class Switch(_Line):
    """One switch of `current`.

    Attributes:
        at: When, UTC. It is written right before the switch, so a killed one may stand here too.
        snapshot_id: The snapshot that it points at since.
        previous: The snapshot that it pointed at until then; `from` in the file.
        why: A run published it, an operator rolled back or released the rollback, or a run that was killed between
            building and switching was completed.
    """

    at: datetime
    snapshot_id: str
    sequence: int
    previous: str | None = Field(validation_alias=_FROM, serialization_alias="from")
    why: SwitchReason


class SourceCheck(_Line):
    """The last successful check of the source: what freshness is counted from.

    Attributes:
        checked_at: When, UTC.
        result: A snapshot was published, built only (a rollback holds), or nothing had changed.
        snapshot_id: The snapshot that was current afterwards.
    """

    checked_at: datetime
    result: SourceCheckResult
    snapshot_id: str | None
    sequence: int | None


class FailedRun(_Line):
    """The last run of the command `run` that did not succeed.

    Attributes:
        ended_at: When it ended, UTC.
        run_id: Its id in Dagster; None: it ended before it had one.
        how: An operator interrupted it, or it failed.
        published: Id of the snapshot that it had published before; None: it published nothing.
    """

    ended_at: datetime
    run_id: str | None
    how: Literal["interrupted", "failed"]
    published: str | None


def read_failed_run(export_dir: Path) -> FailedRun | None:
    """The last run of the command that did not succeed; None where none is on record."""
    return _read(FailedRun, export_dir / FAILED_RUN)


def read_source_check(export_dir: Path) -> SourceCheck | None:
    """The last successful check of the source; None where there was none, or its file can't be read."""
    return _read(SourceCheck, export_dir / LAST_CHECKED)


def read_hold(export_dir: Path) -> RollbackHold | None:
    """The rollback that is in force, if any.

    Raises:
        SnapshotError: The file is there and can't be read; a rollback must not end by accident.
    """
    path = export_dir / HOLD
    try:
        return RollbackHold.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        raise SnapshotError(
            f"{path} can't be read",
            expected="the record of a rollback",
            found=type(error).__name__,
            fix="roll back again, or remove the file to end the rollback",
        ) from None


def read_switches(export_dir: Path) -> list[Switch]:
    """All switches that are on record, oldest first; a line that a crash cut off is left out."""
    try:
        lines = (export_dir / SWITCHES).read_bytes().splitlines()
    except OSError:
        return []
    switches = []
    for line in lines:
        try:
            switches.append(Switch.model_validate_json(line))
        except ValidationError:
            continue
    return switches


def _read(kind: type[_Record], path: Path) -> _Record | None:
    try:
        return kind.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None
