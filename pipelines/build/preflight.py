"""What a run asks before it reads a row. `lei-exports doctor` asks the same, so that neither knows more than the other.

The run asks the questions of the machine first (memory, and whether the export folder can do what it has to), those of
the source when it opens it (source/preflight.py), and then whether it is the published source and whether there is room
for it.
"""

import errno
import fcntl
import os
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from pipelines.checks.findings import Finding, Question
from pipelines.contracts.records import SAMPLE_IDENTITY, Manifest
from pipelines.errors import BusyError, ExportError, SettingsError, SnapshotError, StagingError
from pipelines.settings import Settings
from pipelines.snapshots.guards import reference_snapshot, require_same_source
from pipelines.snapshots.opening import CURRENT
from pipelines.snapshots.retention import prune_now
from pipelines.snapshots.switch import require_switchable
from pipelines.source.connection import SourceAddress
from pipelines.source.preflight import SourcePreflight
from pipelines.system.files import PUBLISHED_MODE, link_or_copy, sync_file, sync_folder

_FIX = "give this user the right to write there, or set EXPORT_DIR to a folder of a local file system"
# Of 40 MB of tables of text that does not compress: 1.1 were staged, and 1.9 built, of which compression takes half.
_STAGED_PER_BYTE = 1.2
_BUILT_PER_BYTE = 1.3
# A run of a hundred rows, on two cores: it mapped 3.1 GB, passed under a limit of 2.35 GB and not under one of 2.15.
_LEAST_ADDRESS_SPACE = 2_500_000_000


def _try_export_folder(export_dir: Path) -> Finding:
    """Do in a folder what a run does there: files, links, locks, renames, and each of them brought to the disk.

    So no hour of reading is lost to a folder that can't do it, or to a name that is taken. It is made where missing.

    Raises:
        SettingsError: It can't do what a run needs; says what, and the system's reason.
    """
    doing = "be made"
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        doing = "take files"
        with tempfile.TemporaryDirectory(prefix=".tried-", dir=export_dir) as name:
            folder = Path(name)
            has_links = True
            for what, step in _steps(folder):
                doing = what
                has_links = step() is not False and has_links
        if (export_dir / CURRENT).exists() and not (export_dir / CURRENT).is_symlink():
            raise SettingsError(
                f"EXPORT_DIR {export_dir} can't be used",
                expected=f"{CURRENT} to be a link to a snapshot, or not there",
                found="a file or folder of that name",
                fix="move it away, or set EXPORT_DIR to another folder",
            )
    except OSError as error:
        raise SettingsError(
            f"EXPORT_DIR {export_dir} can't be used",
            expected="a folder of a file system with symbolic links, locks, and fsync of files and folders",
            found=f"it can't {doing}: {_reason(error)}",
            fix=_FIX,
        ) from None
    require_switchable(export_dir)
    if has_links:
        return Finding("EXPORT_DIR", "ok", f"{export_dir} takes files, links and locks")
    return Finding(
        "EXPORT_DIR",
        "warning",
        f"{export_dir} takes no hard links: every snapshot holds a copy of each unchanged file",
        "set EXPORT_DIR to a file system with hard links, where disk or time is short",
    )


def _steps(folder: Path) -> list[tuple[str, Callable[[], object]]]:
    """What it must be able to do, in the words of a message, and how that is tried."""
    file, linked, current, following = folder / "file", folder / "linked", folder / "current", folder / "next"
    built, snapshot = folder / "built", folder / "snapshot"
    return [
        ("take files", lambda: file.write_bytes(b"x")),
        ("bring a file to the disk (fsync)", lambda: sync_file(file)),
        ("bring a folder to the disk (fsync)", lambda: sync_folder(folder)),
        ("lock a file (flock)", lambda: _locked(file, fcntl.flock)),
        ("lock a file (fcntl)", lambda: _locked(file, fcntl.lockf)),
        ("link or copy a file", lambda: link_or_copy(file, linked)),
        ("make a file read-only (chmod)", lambda: file.chmod(PUBLISHED_MODE)),
        ("take symbolic links", lambda: current.symlink_to("file")),
        ("take symbolic links", lambda: following.symlink_to("linked")),
        ("rename one over another", lambda: following.replace(current)),
        ("take folders", built.mkdir),
        ("rename a folder", lambda: built.rename(snapshot)),
        ("bring a folder to the disk (fsync)", lambda: sync_folder(folder)),
    ]


def _locked(path: Path, lock: Callable[[int, int], object]) -> None:
    with path.open("r+b") as file:
        lock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)


def _reason(error: OSError) -> str:
    if error.errno is None:
        return type(error).__name__
    return f"{os.strerror(error.errno)} ({errno.errorcode.get(error.errno, error.errno)})"


def require_free_space(settings: Settings, bytes_to_read: int, table_bytes: int, published: Manifest | None) -> None:
    """Stop a run that the disk has no room for: its staging, and a snapshot beside the published one.

    Args:
        bytes_to_read: About so much of the tables will be staged.
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


def machine_questions(settings: Settings) -> list[Question]:
    """What is asked of this machine."""
    return [
        Question("memory", lambda: [_ask_address_space()]),
        Question("EXPORT_DIR", lambda: [_try_export_folder(settings.export_dir)]),
    ]


def _ask_address_space() -> Finding:
    """Whether the addresses suffice that every run reserves, for threads above all; short of them, libraries abort."""
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY:
        return Finding("memory", "ok", "no limit on the address space (ulimit -v)")
    if limit < _LEAST_ADDRESS_SPACE:
        raise SettingsError(
            "The address space of this process is limited too tightly",
            expected=f"at least {_LEAST_ADDRESS_SPACE:,} bytes, or no limit",
            found=f"{limit:,} bytes (ulimit -v, LimitAS of a unit)",
            fix="raise or remove the limit; to limit memory, use one on what is in use (MemoryMax of a unit)",
        )
    return Finding("memory", "ok", f"{limit:,} bytes of address space (ulimit -v)")


@contextmanager
def asking_source(settings: Settings) -> Iterator[list[Question]]:
    """What is asked of the source, for a person; the connection is closed at the end.

    Of the embedded server, which is not started for this, only whether it may be published here.
    """

    def ask_same_source(identity: str, address: str) -> list[Finding]:
        require_same_source(_published(settings), identity, address, is_accepted=False)
        return [Finding("same source", "ok", f"{identity} at {address}" if address else identity)]

    if settings.database_url is None:
        yield [Question("same source", lambda: ask_same_source(SAMPLE_IDENTITY, ""))]
        return
    preflight = SourcePreflight(SourceAddress(settings.database_url, is_sample=False), settings)

    def ask_source() -> list[Finding]:
        assert preflight.source is not None  # noqa: S101  the questions before are needed
        return ask_same_source(preflight.source.identity, preflight.source.address)

    try:
        yield [
            *preflight.questions(),
            Question("same source", ask_source),
            Question("disk", lambda: [_ask_room(settings, preflight)]),
        ]
    finally:
        preflight.close()


def _ask_room(settings: Settings, preflight: SourcePreflight) -> Finding:
    """Whether there is room for a run that reads everything; where something is published, a run may read less."""
    published = _published(settings)
    size = sum(leaf.bytes for relation in preflight.relations for leaf in relation.leaves)
    try:
        require_free_space(settings, size, size, published)
    except ExportError as error:
        if published is None:
            raise
        return Finding("disk", "warning", f"{error.what}, if it reads everything; found {error.found}", error.fix)
    return Finding("disk", "ok", f"room for {size:,} bytes of tables, and a snapshot beside the published one")


def _published(settings: Settings) -> Manifest | None:
    snapshot = reference_snapshot(settings.export_dir)
    return snapshot.manifest if snapshot else None
