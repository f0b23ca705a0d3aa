"""The exceptions of the pipeline: one small family, each telling an operator what to do.

No message holds a password, a connection URL or row content other than ids and counts (DESIGN 7).
"""


class ExportError(Exception):
    """Base of all expected failures: the command line prints it and exits with status 1.

    Args:
        what: What failed and where (table, column, file, setting).
        expected: What was expected there.
        found: What was there instead.
        fix: How to fix it.
    """

    def __init__(self, what: str, *, expected: str = "", found: str = "", fix: str = "") -> None:
        """Build the message from its parts; empty parts are left out."""
        self.what = what
        self.expected = expected
        self.found = found
        self.fix = fix
        parts = [("", what), ("Expected: ", expected), ("Found: ", found), ("Fix: ", fix)]
        super().__init__(" ".join(f"{label}{text.rstrip('.')}." for label, text in parts if text))


class SettingsError(ExportError):
    """A setting is missing or has a value that can't be used."""


class SourceError(ExportError):
    """The source can't be read as it stands: no connection, no privilege, a table or column that does not fit."""


class ExtractError(ExportError):
    """A read failed half-way (connection lost, cancelled, timed out). A new run may succeed: this one is retried."""


class LockContentionError(ExtractError):
    """The run stopped by itself because another session waits for a lock behind it (DESIGN 3.1). Retried."""


class BusyError(ExportError):
    """Another run or command works on the same export folder."""


class LockLostError(ExportError):
    """Another run took the lock of the export folder: locks do not hold there. This run changed nothing."""


class EngineError(ExportError):
    """What runs the tasks (ENGINE) can't: no cluster, no node that fits, or a node that differs or was lost."""


class StagingError(ExportError):
    """Staged rows are missing, incomplete, or of different runs."""


class ContractError(ExportError):
    """Rows or columns do not keep the contract of their table."""


class PublishError(ExportError):
    """A snapshot could not be written, verified or switched to. The published one is untouched."""


class SourceChangedError(PublishError):
    """The source is not the one that the published snapshot was made from (DESIGN 4)."""


class RemoteError(ExportError):
    """Object storage refused, failed, or holds something else than expected. The local publication stands."""


class RemoteConflictError(RemoteError):
    """Another publisher switched the same prefix of object storage meanwhile, or before."""


class SnapshotError(ExportError):
    """A published snapshot is missing or damaged."""


class BatchNotFoundError(ExportError):
    """A snapshot has no batch of this id."""


class BatchFileError(ExportError):
    """A batch does not fit into the format that was asked for, or its file can't be written."""


class QueryStoppedError(ExportError):
    """A query on a snapshot was stopped: it took too long, or nobody waits for it any more."""


class AnswerTooLargeError(ExportError):
    """An answer from a snapshot needs more memory than there is for all answers together."""


class SampleError(ExportError):
    """The embedded PostgreSQL or the loader of CSV files failed."""


class ReportError(ExportError):
    """The report of a snapshot could not be drawn or written. The snapshot is not touched by that."""


class QueryError(ExportError):
    """A person's SQL can't be run on a published snapshot."""


class OutputError(ExportError):
    """What a command had to show can't be written."""
