"""What a run would find here and at the source, looked at without a run (`lei-exports doctor`).

Belongs here: folders, disk, versions, what is published, and the order of it all. Does not: questions to the source
(extract/diagnosis.py).
"""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.errors import ExportError
from pipelines.extract.connection import SourceAddress
from pipelines.extract.diagnosis import diagnose_source
from pipelines.findings import Finding, failed
from pipelines.publish.preflight import require_switchable
from pipelines.publish.versions import library_versions
from pipelines.reading.health import judge_health
from pipelines.reading.snapshots import current_snapshot
from pipelines.settings import Settings

_OLDEST_PYTHON, _FIRST_UNTRIED_PYTHON = (3, 11), (3, 15)


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Look at all that a run needs, one finding after the other; a folder that is missing is made.

    Args:
        settings: The settings; they could be read, which is the first finding.
    """
    yield Finding("settings", "ok", "every value can be used")
    yield _versions()
    yield _export_dir(settings.export_dir)
    yield _home(settings.dagster_home)
    published = _published(settings)
    yield published
    yield _room(settings)
    yield _alerts(settings)
    if settings.database_url is None:
        yield Finding(
            "source",
            "warning",
            "DATABASE_URL is unset: the embedded PostgreSQL with the sample would be exported",
            "set DATABASE_URL to export your own database",
        )
        return
    yield from diagnose_source(
        SourceAddress(settings.database_url, is_sample=False),
        settings.source_schema,
        include_full_data=settings.include_full_data,
        read_connections=settings.read_connections,
    )


def _versions() -> Finding:
    told = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    if _OLDEST_PYTHON <= sys.version_info[:2] < _FIRST_UNTRIED_PYTHON:
        return Finding("versions", "ok", told)
    return Finding("versions", "warning", told, "use Python 3.11 to 3.14: others were not tried")


def _export_dir(export_dir: Path) -> Finding:
    """Try what publishing does: a file, a hard link, a symbolic link, a rename over it."""
    try:
        export_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".doctor-", dir=export_dir) as name:
            folder = Path(name)
            (folder / "file").write_bytes(b"x")
            os.link(folder / "file", folder / "link")
            (folder / "current").symlink_to("file")
            (folder / "next").symlink_to("link")
            (folder / "next").replace(folder / "current")
    except OSError as error:
        return Finding(
            "EXPORT_DIR",
            "failed",
            f"{export_dir} does not take files and links: {error.strerror or type(error).__name__}",
            "give this user the right to write there, or name a folder of a local file system",
        )
    return Finding("EXPORT_DIR", "ok", f"{export_dir} takes files and links")


def _home(home: Path) -> Finding:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        return Finding(
            "DAGSTER_HOME",
            "failed",
            f"{home} can't be written to: {error.strerror or type(error).__name__}",
            "give this user the right to write there, or set DAGSTER_HOME to another folder",
        )
    return Finding("DAGSTER_HOME", "ok", f"{home} can be written to")


def _published(settings: Settings) -> Finding:
    try:
        require_switchable(settings.export_dir)
        health = judge_health(settings.export_dir, settings.stale_after_hours)
    except ExportError as error:
        return failed("published", error)
    if health.snapshot is None:
        return Finding("published", "ok", "nothing yet")
    told = f"snapshot {health.snapshot.manifest.id} (number {health.snapshot.manifest.sequence})"
    if health.problems:
        return Finding("published", "warning", f"{told}: {'; '.join(health.problems)}", "lei-exports status says more")
    return Finding("published", "ok", told)


def _room(settings: Settings) -> Finding:
    try:
        free = shutil.disk_usage(settings.export_dir).free
        snapshot = current_snapshot(settings.export_dir)
    except (OSError, ExportError):
        return Finding("disk", "warning", "not known, see above")
    if snapshot is None:
        return Finding("disk", "ok", f"{free:,} bytes free; a run estimates what it needs before it reads")
    size = snapshot.manifest.bytes
    # A new snapshot beside the old one, and about as much of staged rows (run/room.py).
    if free < 2 * size:
        return Finding(
            "disk",
            "warning",
            f"{free:,} bytes free, the published snapshot has {size:,}: a run that reads everything may not fit",
            "make room (lei-exports prune, KEEP_SNAPSHOTS), or set EXPORT_DIR to a larger disk",
        )
    return Finding("disk", "ok", f"{free:,} bytes free, the published snapshot has {size:,}")


def _alerts(settings: Settings) -> Finding:
    if settings.alert_webhook_url is None:
        return Finding("alerts", "ok", "ALERT_WEBHOOK_URL is unset: nobody is told of failures")
    return Finding("alerts", "ok", "ALERT_WEBHOOK_URL is set; lei-exports doctor --test-alert posts a test")
