"""What may be published: all built tables of one staging, of this contract, no check failed (DESIGN 3.6)."""

from collections.abc import Sequence
from pathlib import PurePosixPath

from pipelines.contracts.records import CheckRecord, Manifest, StagingRecord, TableRecord
from pipelines.contracts.tables import Table
from pipelines.contracts.version import CONTRACT_VERSION
from pipelines.errors import PublishError, StagingError

_REBUILD = "build all tables again from one staging: run the job `export`"


def require_publishable(
    staging: StagingRecord, tables: Sequence[Table], built: Sequence[TableRecord], checks: Sequence[CheckRecord]
) -> None:
    """Refuse what does not belong together, is incomplete or failed a check.

    Args:
        staging: The staging that is published.
        tables: The tables to publish.
        built: What was built.
        checks: Checks of the run as a whole.

    Raises:
        StagingError: Tables are missing, twice or unknown, of another staging or contract version, or a record
            contradicts itself.
        PublishError: A blocking check failed.
    """
    wanted, names = [table.name for table in tables], [record.name for record in built]
    if sorted(names) != sorted(wanted):
        raise StagingError(
            "The built tables are not the tables to publish",
            expected=", ".join(sorted(wanted)),
            found=", ".join(sorted(names)) or "none",
            fix=_REBUILD,
        )
    for record in built:
        _require_of_staging(record, staging)
        _require_files(record)
    failed = [
        f"{check.table}.{check.name}"
        for check in (*checks, *(check for record in built for check in record.checks))
        if not check.passed and check.severity == "error"
    ]
    if failed:
        raise PublishError(
            "Blocking checks failed, nothing was published",
            found=", ".join(failed),
            fix="see the metadata of these checks in the run; correct the source or the transform",
        )


def require_base(staging: StagingRecord, newest: Manifest | None) -> None:
    """Refuse a staging whose unchanged segments come from a snapshot that is not the newest any more.

    Args:
        staging: The staging that is published.
        newest: The manifest of the newest snapshot.

    Raises:
        StagingError: Another snapshot was built since the staging began, or its base is gone.
    """
    if staging.base_snapshot is None or (newest is not None and newest.id == staging.base_snapshot):
        return
    raise StagingError(
        f"Staging {staging.staging_id} continues a snapshot that is not the newest any more",
        expected=f"snapshot {staging.base_snapshot}",
        found="no snapshot" if newest is None else f"snapshot {newest.id}",
        fix="run the job `export` again: it looks for what changed since the newest snapshot",
    )


def _require_of_staging(record: TableRecord, staging: StagingRecord) -> None:
    if record.staging_id != staging.staging_id:
        raise StagingError(
            f"{record.name} was built from another staging",
            expected=staging.staging_id,
            found=record.staging_id,
            fix=_REBUILD,
        )
    if record.contract_version != CONTRACT_VERSION:
        raise StagingError(
            f"{record.name} was built for another contract version",
            expected=CONTRACT_VERSION,
            found=record.contract_version,
            fix=_REBUILD,
        )


def _require_files(record: TableRecord) -> None:
    paths = [file.path for file in record.files]
    wrong = [path for path in paths if PurePosixPath(path).parts != (record.name, PurePosixPath(path).name)]
    if wrong or not paths or paths != sorted(set(paths)):
        raise StagingError(
            f"The files of {record.name} are not listed properly",
            expected=f"at least one `{record.name}/<file>`, in name order, each once",
            found=f"{len(paths)} file(s), {len(wrong)} of them elsewhere",
            fix=_REBUILD,
        )
    rows = sum(file.rows for file in record.files)
    if rows != record.rows:
        raise StagingError(
            f"{record.name} and its files disagree on rows", expected=str(record.rows), found=str(rows), fix=_REBUILD
        )
