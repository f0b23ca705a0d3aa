"""Snapshots by what a person or a job knows of them: an id, a sequence number, "the one after mine"."""

import difflib
import time
from pathlib import Path

from pipelines.errors import SnapshotError
from pipelines.snapshots.history import read_source_check, read_switches
from pipelines.snapshots.opening import SNAPSHOTS, Snapshot, list_snapshots, read_number, try_current

_POLL_SECONDS = 0.5
_SUGGESTIONS = 3


def newest_snapshot(export_dir: Path) -> Snapshot | None:
    """The readable snapshot with the largest sequence number: what the last run built.

    It is the current one except during a rollback, or where a run was killed right before its switch.
    """
    snapshots = list_snapshots(export_dir).snapshots
    return snapshots[-1] if snapshots else None


def largest_number(export_dir: Path) -> int:
    """The largest sequence number that was ever given here, as far as anything on disk knows; 0: none.

    Of snapshots on disk (damaged ones too), of switches on record, and of the last check of the source.
    """
    folders = (export_dir / SNAPSHOTS).glob("[!.]*/")
    last_check = read_source_check(export_dir)
    numbers = [read_number(folder) for folder in folders]
    numbers += [switch.sequence for switch in read_switches(export_dir)]
    numbers += [] if last_check is None else [last_check.sequence]
    return max((number for number in numbers if number is not None), default=0)


def find_snapshot(export_dir: Path, name: str) -> Snapshot:
    """A snapshot by its id or its sequence number.

    Raises:
        SnapshotError: There is none, with the closest ids; or its manifest can't be read.
    """
    listing = list_snapshots(export_dir)
    for snapshot in listing.snapshots:
        if name in {snapshot.manifest.id, str(snapshot.manifest.sequence)}:
            return snapshot
    if name in listing.unreadable:
        raise listing.unreadable[name]
    raise _unknown(export_dir, name, [snapshot.manifest.id for snapshot in listing.snapshots])


def sequence_of(export_dir: Path, name: str) -> int:
    """The sequence number of a snapshot that is on disk or was once switched to; a number stands for itself.

    Raises:
        SnapshotError: It is in neither, with the closest ids; or the number is larger than any that was given here.
    """
    if name.isdecimal():
        largest = largest_number(export_dir)
        digits = name.lstrip("0") or "0"
        # Python makes no number of thousands of digits.
        if len(digits) > len(str(largest)) or int(digits) > largest:
            raise SnapshotError(
                f"{export_dir} never had a snapshot of sequence {name}",
                expected=f"at most {largest}",
                fix="take a number that `lei-exports snapshots` shows; after a restore without switches.jsonl numbers"
                " begin again at that of the restored snapshot",
            )
        return int(digits)
    known = {switch.snapshot_id: switch.sequence for switch in read_switches(export_dir)}
    listing = list_snapshots(export_dir)
    damaged = {name: read_number(export_dir / SNAPSHOTS / name) for name in listing.unreadable}
    known.update({name: number for name, number in damaged.items() if number is not None})
    known.update({s.manifest.id: s.manifest.sequence for s in listing.snapshots})
    if name not in known:
        raise _unknown(export_dir, name, sorted(known, key=lambda known_id: known[known_id]))
    return known[name]


def wait_for_snapshot(export_dir: Path, after: str | int, timeout_s: float | None = None) -> Snapshot | None:
    """Wait until `current` is a snapshot with a larger sequence number; at once where it is already.

    A rollback to an older snapshot is nothing new; what is published during it arrives when it is released. A `current`
    that can't be read is nothing new either: the next run replaces it.

    Args:
        after: Id or sequence number of the last snapshot that the caller has seen; 0 for none.
        timeout_s: How long to wait, seconds; None: for ever.

    Returns:
        The snapshot, or None where the time is over.

    Raises:
        SnapshotError: The id is unknown, or the time is over and `current` can't be read.
    """
    sequence = sequence_of(export_dir, str(after))
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        current, problem = try_current(export_dir)
        if current is not None and current.manifest.sequence > sequence:
            return current
        left = _POLL_SECONDS if deadline is None else deadline - time.monotonic()
        if left <= 0:
            if problem is not None:
                raise problem
            return None
        time.sleep(min(_POLL_SECONDS, left))


def _unknown(export_dir: Path, name: str, ids: list[str]) -> SnapshotError:
    close = difflib.get_close_matches(name, ids, n=_SUGGESTIONS, cutoff=0.0)
    return SnapshotError(
        f"{export_dir} has no snapshot {name!r}",
        expected=f"one of these: {', '.join(close)}" if close else "an id, once something is published",
        fix="lei-exports snapshots lists all ids",
    )
