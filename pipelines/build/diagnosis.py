"""What a run would find here and at the source, without a run (`lei-exports doctor`).

What a run asks as well is in preflight.py; here is what only a person wants to know, such as versions.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pipelines.build.preflight import asking_source, machine_questions
from pipelines.checks.findings import Finding, collect_findings, failed
from pipelines.contracts.version import library_versions
from pipelines.errors import ExportError
from pipelines.settings import Settings
from pipelines.snapshots.health import evaluate_health

_OLDEST_PYTHON, _FIRST_UNTRIED_PYTHON = (3, 11), (3, 15)


def diagnose(settings: Settings) -> Iterator[Finding]:
    """Look at all that a run needs, one finding after the other; a folder that is missing is made."""
    yield Finding("settings", "ok", "every value can be used")
    yield _versions()
    yield from collect_findings(machine_questions(settings))
    yield _home(settings.dagster_home)
    yield _published(settings)
    yield _alerts(settings)
    if settings.publish_url is not None:
        yield _object_storage(settings)
    if settings.database_url is None:
        yield Finding(
            "source",
            "warning",
            "DATABASE_URL is unset: the embedded PostgreSQL with the sample would be exported",
            "set DATABASE_URL to export your own database",
        )
    with asking_source(settings) as questions:
        yield from collect_findings(questions)


def _versions() -> Finding:
    found = ", ".join(f"{name} {version}" for name, version in library_versions().items())
    if _OLDEST_PYTHON <= sys.version_info[:2] < _FIRST_UNTRIED_PYTHON:
        return Finding("versions", "ok", found)
    return Finding("versions", "warning", found, "use Python 3.11 to 3.14: others were not tried")


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
        health = evaluate_health(settings.export_dir, settings.stale_after_hours)
    except ExportError as error:
        return failed("published", error)
    if health.unreadable is not None:
        return failed("published", health.unreadable)
    if health.snapshot is None:
        return Finding("published", "ok", "nothing yet")
    found = f"snapshot {health.snapshot.manifest.id} (sequence {health.snapshot.manifest.sequence})"
    if health.problems:
        return Finding("published", "warning", f"{found}: {'; '.join(health.problems)}", "lei-exports status says more")
    return Finding("published", "ok", found)


def _alerts(settings: Settings) -> Finding:
    if settings.alert_webhook_url is None:
        return Finding("alerts", "ok", "ALERT_WEBHOOK_URL is unset: nobody is told of failures")
    return Finding("alerts", "ok", "ALERT_WEBHOOK_URL is set; lei-exports doctor --test-alert posts a test")


def _object_storage(settings: Settings) -> Finding:
    from pipelines.remote.pushing import require_pushable  # noqa: PLC0415  needs the extra `cloud`

    try:
        current = require_pushable(settings)
    except ExportError as error:
        return failed("object storage", error)
    found = "nothing yet" if current is None else f"snapshot {current.snapshot_id} (sequence {current.sequence})"
    return Finding("object storage", "ok", f"{settings.publish_url} can be read, and has {found}")
