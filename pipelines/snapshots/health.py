"""Whether what is published is healthy: fresh, whole, and not held by a rollback."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pipelines.errors import SnapshotError
from pipelines.snapshots.history import CLOCK_SKEW, RollbackHold, SourceCheck, read_hold, read_source_check
from pipelines.snapshots.opening import Snapshot, try_current

_NAMED_FILES = 3


@dataclass(frozen=True)
class Health:
    """What was found.

    Attributes:
        snapshot: The published one; None where nothing is published, or it can't be read.
        problems: What an operator has to deal with, in words; none: healthy.
        unreadable: Why the published snapshot can't be read; None: it can, or nothing is published.
    """

    snapshot: Snapshot | None
    source_check: SourceCheck | None
    hold: RollbackHold | None
    problems: tuple[str, ...]
    unreadable: SnapshotError | None = None


def evaluate_health(export_dir: Path, stale_after_hours: float, now: datetime | None = None) -> Health:
    """Look at an export folder.

    Args:
        stale_after_hours: Longest time since the last successful check of the source, hours (STALE_AFTER_HOURS).
        now: The clock, UTC; None asks it.

    Raises:
        SnapshotError: rollback.json is there and can't be read.
    """
    snapshot, unreadable = try_current(export_dir)
    source_check, hold = read_source_check(export_dir), read_hold(export_dir)
    problems = []
    if unreadable is not None:
        problems.append(str(unreadable))
    elif snapshot is None:
        problems.append("nothing is published")
    else:
        problems += [*_missing(snapshot), *_lost(snapshot)]
    checked_at = source_check.checked_at if source_check else snapshot.manifest.source.snapshot_at if snapshot else None
    age = timedelta(0) if checked_at is None else (now or datetime.now(UTC)) - checked_at
    if age > timedelta(hours=stale_after_hours):
        problems.append(
            f"stale: the last successful look at the source was {age / timedelta(hours=1):.1f} h ago, expected one"
            f" every {stale_after_hours:g} h"
        )
    if checked_at is not None and age < -CLOCK_SKEW:
        problems.append(
            f"the last look at the source is of the future, {checked_at:%Y-%m-%d %H:%M} UTC: until then nothing would"
            " be stale; set the clocks right, and run lei-exports run"
        )
    if hold is not None:
        problems.append(
            f"rolled back to {hold.snapshot_id} since {hold.held_at:%Y-%m-%d %H:%M} UTC: runs build, and do not switch"
            " until lei-exports rollback --release"
        )
    return Health(snapshot, source_check, hold, tuple(problems), unreadable)


def _missing(snapshot: Snapshot) -> list[str]:
    """Published files that are gone or have another size, the first ones by name."""
    manifest = snapshot.manifest
    files = [manifest.database, *manifest.extras, *(file for table in manifest.tables for file in table.files)]
    wrong = [file.path for file in files if _size(snapshot.folder / file.path) != file.bytes]
    if not wrong:
        return []
    more = f" and {len(wrong) - _NAMED_FILES} more" if len(wrong) > _NAMED_FILES else ""
    return [f"damaged: {', '.join(wrong[:_NAMED_FILES])}{more}; the next run builds them again"]


def _lost(snapshot: Snapshot) -> list[str]:
    """Known columns that the source had with values, and has no more."""
    lost = [f"{table}.{column}" for table, columns in snapshot.manifest.lost_columns.items() for column in columns]
    if not lost:
        return []
    return [
        f"gone from the source, so NULL: {', '.join(lost)}; give them their names back, or accept it:"
        " lei-exports run --accept-shrink"
    ]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
