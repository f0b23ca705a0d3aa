"""Whether the disk has room for a run, found out before it reads a row (DESIGN 7)."""

import shutil
from datetime import UTC, datetime

from pipelines.contracts.records import Manifest
from pipelines.errors import BusyError, SnapshotError, StagingError
from pipelines.settings import Settings
from pipelines.snapshots.retention import prune_now

# Of 40 MB of tables of text that does not compress: 1.1 were staged, and 1.9 built, of which compression takes half.
_STAGED_PER_BYTE = 1.2
_BUILT_PER_BYTE = 1.3


def require_free_space(settings: Settings, bytes_to_read: int, table_bytes: int, published: Manifest | None) -> None:
    """Stop a run that the disk has no room for: its staging, and a snapshot beside the published one.

    Args:
        settings: The run's settings.
        bytes_to_read: About so much of the tables will be staged.
        table_bytes: Size of both tables.
        published: The published snapshot, as a measure for the next one; None: the tables are the measure.

    Raises:
        StagingError: Names what is needed and what is free, and what `lei-exports prune` would free.
    """
    built = published.bytes if published is not None else int(_BUILT_PER_BYTE * table_bytes)
    needed = int(_STAGED_PER_BYTE * bytes_to_read) + built
    free = shutil.disk_usage(settings.export_dir).free
    if free < needed:
        raise StagingError(
            f"{settings.export_dir} has too little room for this run",
            expected=f"about {needed:,} bytes free, for the rows to be read and a snapshot beside the published one",
            found=f"{free:,} bytes",
            fix=how_to_make_room(settings),
        )


def how_to_make_room(settings: Settings) -> str:
    """What an operator can do about a full disk: the command that frees something, with how much."""
    ways = [("lei-exports prune", False), ("lei-exports prune --all-but-current", True)]
    for command, all_but_current in ways:
        freed = _would_free(settings, all_but_current=all_but_current)
        if freed:
            return f"`{command}` frees {freed:,} bytes; or set EXPORT_DIR to a larger disk"
    return "set EXPORT_DIR to a larger disk, or make room on this one: no older snapshot is left to be deleted"


def _would_free(settings: Settings, *, all_but_current: bool) -> int:
    keep, hours, now = settings.keep_snapshots, settings.keep_hours, datetime.now(UTC)
    try:
        report = prune_now(
            settings.export_dir, keep, hours, now, all_but_current=all_but_current, is_trial=True, lock_wait_seconds=0
        )
    except (BusyError, SnapshotError, OSError):
        return 0
    return report.freed_bytes
