"""The digest that the manifest keeps of a file, computed once in a run."""

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


class Digests:
    """Digests of files. One that was computed stands for the same file: its number, size and time of writing.

    Reading a file once more says nothing new: it comes from memory. So one object lasts for a run, not longer.
    """

    def __init__(self) -> None:
        self._known: dict[tuple[int, int, int, int], str] = {}

    def of(self, path: Path) -> str:
        """Digest of a file, under whatever name.

        Raises:
            OSError: The file is missing or can't be read.
        """
        key = _identity(path)
        if key not in self._known:
            self._known[key] = sha256_of(path)
        return self._known[key]

    def known(self, path: Path) -> str | None:
        """The digest of a file, if it was computed and the file was not written since."""
        return self._known.get(_identity(path))

    def of_all(self, paths: Iterable[Path]) -> list[str | None]:
        """Digests of several files in the order given, on all cores (hashlib lets the others run).

        Returns:
            None in the place of a file that is missing or can't be read.
        """
        with ThreadPoolExecutor(max_workers=os.cpu_count() or 1) as pool:
            return list(pool.map(self._try, paths))

    def _try(self, path: Path) -> str | None:
        try:
            return self.of(path)
        except OSError:
            return None


def _identity(path: Path) -> tuple[int, int, int, int]:
    stat = path.stat()
    return stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns
