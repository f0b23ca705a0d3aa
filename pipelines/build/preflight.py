"""What a run asks before it reads a row. `lei-exports doctor` asks the same, so that neither knows more than the other.

The run asks the questions of the machine first, those of the source when it opens it (source/preflight.py), and then
whether it is the published source and whether there is room for it.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.build.disk_space import require_free_space
from pipelines.build.export_folder import try_export_folder
from pipelines.checks.findings import Finding, Question
from pipelines.contracts.records import SAMPLE_IDENTITY, Manifest
from pipelines.errors import ExportError, SettingsError
from pipelines.settings import Settings
from pipelines.snapshots.guards import reference_snapshot, require_same_source
from pipelines.snapshots.preflight import require_switchable
from pipelines.source.connection import SourceAddress
from pipelines.source.preflight import SourcePreflight, wanted_connections

# A run of a hundred rows, on two cores: it mapped 3.1 GB, passed under a limit of 2.35 GB and not under one of 2.15.
_LEAST_ADDRESS_SPACE = 2_500_000_000


def machine_questions(settings: Settings) -> list[Question]:
    """What is asked of this machine."""
    return [
        Question("memory", lambda: [_ask_address_space()]),
        Question("EXPORT_DIR", lambda: [_ask_export_folder(settings)]),
    ]


def _ask_export_folder(settings: Settings) -> Finding:
    """Whether a run can do there what it has to; so that no hour of reading is lost to a name that is taken."""
    finding = try_export_folder(settings.export_dir)
    require_switchable(settings.export_dir)
    return finding


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
    preflight = SourcePreflight(
        SourceAddress(settings.database_url, is_sample=False),
        settings.source_schema,
        settings.include_full_data,
        settings.export_max_seconds,
        wanted_connections(settings.read_connections),
    )

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
