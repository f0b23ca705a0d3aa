"""Whether object storage holds what was published: sizes, versions of the tables, and on demand every byte."""

import posixpath
from collections.abc import Mapping

from pipelines.checks.definitions import CONTENT_INTACT, OBJECTS_COMPLETE, VERSIONS_COMMITTED
from pipelines.contracts.records import CheckRecord, FileRecord, Manifest
from pipelines.remote.delta import DeltaState, read_state
from pipelines.remote.layout import RemoteRecord, object_name, side_files, snapshot_object
from pipelines.remote.store import RemoteStore


def objects_of(manifest: Manifest, record: RemoteRecord) -> dict[str, FileRecord]:
    """The objects of a snapshot by name; its manifest and its record are not among them."""
    objects = {object_name(file): file for table in manifest.tables for file in table.files}
    return objects | {snapshot_object(manifest.id, f.path): f for f in side_files(manifest, record.files)}


def check_objects(store: RemoteStore, manifest: Manifest, record: RemoteRecord) -> list[CheckRecord]:
    """Whether all objects are there, with the sizes of the manifest. Nothing is read.

    Raises:
        RemoteError: The store can't be listed.
    """
    wanted = objects_of(manifest, record)
    found = {n: s for prefix in sorted({posixpath.dirname(n) for n in wanted}) for n, s in store.sizes(prefix).items()}
    wrong = [name for name, file in wanted.items() if name not in found or found[name].bytes != file.bytes]
    size = sum(file.bytes for file in wanted.values())
    return [OBJECTS_COMPLETE.result(passed=not wrong, objects=len(wanted), bytes=size, missing_or_cut=wrong)]


def check_versions(
    manifest: Manifest, record: RemoteRecord, states: Mapping[str, DeltaState | None]
) -> list[CheckRecord]:
    """Whether each version that the record names has the files, rows and bytes of the manifest."""
    wrong = []
    for table in manifest.tables:
        state = states.get(table.name)
        files = {posixpath.basename(object_name(file)): file.bytes for file in table.files}
        found = None if state is None else (state.version, state.files, state.rows)
        if found != (record.tables[table.name].version, files, table.rows):
            wrong.append(table.name)
    versions = {name: table.version for name, table in record.tables.items()}
    return [VERSIONS_COMMITTED.result(passed=not wrong, versions=versions, wrong=wrong)]


def check_content(store: RemoteStore, manifest: Manifest, record: RemoteRecord) -> list[CheckRecord]:
    """Whether each object has the sha256 of the manifest: every byte is read.

    Raises:
        RemoteError: An object can't be read.
    """
    wanted = objects_of(manifest, record)
    damaged = [name for name, file in wanted.items() if store.digest(name, file.bytes) != file.sha256]
    return [CONTENT_INTACT.result(passed=not damaged, damaged=damaged)]


def verify_remote(store: RemoteStore, manifest: Manifest, record: RemoteRecord) -> list[CheckRecord]:
    """Everything: sizes and versions, and if these are right the content.

    Raises:
        RemoteError: The store can't be read.
    """
    states = {name: read_state(store, name, table.version) for name, table in record.tables.items()}
    checks = [*check_objects(store, manifest, record), *check_versions(manifest, record, states)]
    return checks if not checks[0].passed else [*checks, *check_content(store, manifest, record)]
