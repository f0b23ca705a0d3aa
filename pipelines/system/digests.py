"""The digest that the manifest keeps of a file."""

import hashlib
import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def sha256_of(path: Path) -> str:
    """Digest of a file's content, lower-case hex.

    Raises:
        OSError: The file is missing or can't be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digests_of(paths: Iterable[Path]) -> list[str | None]:
    """Digests of several files in the order given, on all cores (hashlib lets the others run).

    Returns:
        None in the place of a file that is missing or can't be read.
    """
    with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
        return list(pool.map(_digest_of, paths))


def _digest_of(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None
