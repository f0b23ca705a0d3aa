"""Whether the disk has room for a run, found out before it reads a row (DESIGN 7).

Belongs here: the estimate. Does not: what happens when the disk fills up all the same (publish/files.py, staging/).
"""

import shutil
from pathlib import Path

from pipelines.contracts.records import Manifest
from pipelines.errors import StagingError

# Of 40 MB of tables of text that does not compress: 1.1 were staged, and 1.9 built, of which compression takes half.
_STAGED_PER_BYTE = 1.2
_BUILT_PER_BYTE = 1.3


def require_room(export_dir: Path, bytes_to_read: int, table_bytes: int, published: Manifest | None) -> None:
    """Stop a run that the disk has no room for: its staging, and a snapshot beside the published one.

    Args:
        export_dir: The export folder.
        bytes_to_read: About so much of the tables will be staged.
        table_bytes: Size of both tables.
        published: The published snapshot, as a measure for the next one; None: the tables are the measure.

    Raises:
        StagingError: Names what is needed and what is free.
    """
    built = published.bytes if published is not None else int(_BUILT_PER_BYTE * table_bytes)
    needed = int(_STAGED_PER_BYTE * bytes_to_read) + built
    free = shutil.disk_usage(export_dir).free
    if free < needed:
        raise StagingError(
            f"{export_dir} has too little room for this run",
            expected=f"about {needed:,} bytes free, for the rows to be read and a snapshot beside the published one",
            found=f"{free:,} bytes",
            fix="make room (lei-exports prune, KEEP_SNAPSHOTS), or set EXPORT_DIR to a larger disk",
        )
