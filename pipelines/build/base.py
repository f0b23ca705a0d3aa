"""Which published snapshot a run can take unchanged segments from (DESIGN 4)."""

from pathlib import Path

from pipelines.contracts.records import StagingRecord
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import SnapshotError, StagingError
from pipelines.progress import OnProgress, Progress
from pipelines.settings import Settings
from pipelines.snapshots.lookup import newest_snapshot
from pipelines.snapshots.opening import SNAPSHOTS, Snapshot, load_manifest
from pipelines.snapshots.verification import failed_checks, verify_files
from pipelines.snapshots.versions import library_versions
from pipelines.system.digests import Digests


def find_base(settings: Settings, digests: Digests, on_progress: OnProgress) -> Snapshot | None:
    """The newest snapshot, if what it holds can be taken over as it is; else None, and the run reads everything.

    It can't where the contract, a library or a setting that shapes the files is another, and where one of its files is
    missing or no longer what was published: such a snapshot is rebuilt by this run.
    """
    newest = newest_snapshot(settings.export_dir)
    if newest is None or not newest.manifest.fingerprints:
        return None
    reason = _unfit(newest, settings, digests)
    if reason:
        on_progress(Progress("read", f"everything is read again: {reason}"))
        return None
    return newest


def _unfit(snapshot: Snapshot, settings: Settings, digests: Digests) -> str:
    manifest = snapshot.manifest
    now = {
        "contract version": CONTRACT_VERSION,
        "SEGMENT_SIZE": settings.segment_size,
        "INCLUDE_FULL_DATA": settings.include_full_data,
        **library_versions(),
    }
    then = {
        "contract version": manifest.contract_version,
        "SEGMENT_SIZE": manifest.segment_size,
        "INCLUDE_FULL_DATA": manifest.include_full_data,
        **manifest.versions,
    }
    others = [name for name, value in now.items() if then.get(name) != value]
    if others:
        return f"{', '.join(others)} changed since snapshot {manifest.id}"
    failed = failed_checks(verify_files(snapshot, digests))
    if failed:
        files = [path for check in failed for key in ("missing", "damaged") for path in check.metadata.get(key, [])]
        return f"snapshot {manifest.id} is damaged: {', '.join(files) or 'files that do not belong to it'}"
    return ""


def base_snapshot(export_dir: Path, record: StagingRecord) -> Snapshot:
    """The snapshot that a staging takes its unchanged segments from.

    Raises:
        StagingError: It is no longer there.
    """
    folder = export_dir / SNAPSHOTS / (record.base_snapshot or "")
    try:
        return Snapshot(folder, load_manifest(folder))
    except SnapshotError:
        raise StagingError(
            f"Staging {record.staging_id} has lost its base",
            expected=f"snapshot {record.base_snapshot}, which its unchanged segments are in",
            found="no such snapshot any more",
            fix="run the export again",
        ) from None
