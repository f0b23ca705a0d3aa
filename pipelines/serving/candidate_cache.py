"""Candidates of domains as they are sent, kept on disk by groups of neighbouring ids until the snapshot is gone.

Reading one domain's candidates takes DuckDB 2 ms, most of it 24 blocks of the file; from here it takes 10 microseconds.
Of use to the event loop's thread alone.
"""

import os
from array import array
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.serving.file_cache import nameless_file

# Ids that are read together, some 40 ms: who looks at one domain of a batch looks at its neighbours next. Groups of a
# quarter take half as long each.
_IDS = 1_024
# Groups that wait to be read; whoever was asked for first is forgotten.
_MOST_WANTED = 4_096


@dataclass(frozen=True)
class _Group:
    """Where a group lies: its ids in order, where the text of each begins, and where the last one ends."""

    ids: "array[int]"
    starts: "array[int]"


class CandidateCache:
    """JSON texts by domain id, at most so many bytes; when they are full it starts again."""

    def __init__(self, folder: Path | None, most_bytes: int) -> None:
        """An empty cache.

        Args:
            folder: Where its file lies; None: where the system keeps what is temporary.
            most_bytes: Of all texts; 0 keeps nothing.
        """
        self._folder = folder
        self._most_bytes = most_bytes
        self._descriptor: int | None = None
        self._bytes = 0
        self._groups: dict[int, _Group] = {}
        self._wanted: OrderedDict[int, None] = OrderedDict()

    def find(self, domain_id: int) -> bytes | None:
        """The text of a domain; None: not kept."""
        group = self._groups.get(domain_id // _IDS)
        if group is None or self._descriptor is None:
            return None
        index = bisect_left(group.ids, domain_id)
        if index == len(group.ids) or group.ids[index] != domain_id:
            return None
        begin, end = group.starts[index], group.starts[index + 1]
        text = os.pread(self._descriptor, end - begin, begin)
        return text if len(text) == end - begin else None

    def want(self, domain_id: int) -> bool:
        """Ask for a domain's group; False: nothing is to be read, of this domain or another."""
        group = domain_id // _IDS
        if self._most_bytes and group not in self._groups:
            self._wanted[group] = None
            if len(self._wanted) > _MOST_WANTED:
                self._wanted.popitem(last=False)
        return self.is_wanted

    @property
    def is_wanted(self) -> bool:
        """Whether a group is wanted."""
        return bool(self._wanted)

    def next_wanted(self) -> int | None:
        """A group to read, that was asked for last; None: there is none."""
        return self._wanted.popitem()[0] if self._wanted else None

    def range_of(self, group: int) -> tuple[int, int]:
        """First and last id of a group."""
        return group * _IDS, (group + 1) * _IDS - 1

    @property
    def offset(self) -> int:
        """Where in its file the next group is to be written."""
        return self._bytes

    @property
    def room(self) -> int:
        """How many bytes the next group may have."""
        return self._most_bytes - self._bytes

    def open_file(self) -> int:
        """Descriptor of its file.

        Raises:
            OSError: The folder does not take it.
        """
        if self._descriptor is None:
            self._descriptor = nameless_file(self._folder)
        return self._descriptor

    def start_anew(self, size: int) -> bool:
        """Let everything go, so that a group of that size fits in; False: it never does."""
        if size > self._most_bytes:
            return False
        self._groups.clear()
        self._bytes = 0
        os.ftruncate(self.open_file(), 0)
        return True

    def add(self, group: int, ids: Sequence[int], sizes: Sequence[int]) -> None:
        """Keep a group whose texts were written one behind the other at `offset`."""
        starts = array("q", [self._bytes])
        for size in sizes:
            starts.append(starts[-1] + size)
        self._bytes = starts[-1]
        self._groups[group] = _Group(array("q", ids), starts)
        self._wanted.pop(group, None)  # somebody may have asked for it meanwhile

    def refuse(self, group: int) -> None:
        """A group that can't be kept: it is not wanted again."""
        self._groups[group] = _Group(array("q"), array("q"))

    def close(self) -> None:
        """Let everything go."""
        self._groups.clear()
        self._bytes = 0
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def give_up(self) -> None:
        """Keep nothing from now on."""
        self.close()
        self._most_bytes = 0
        self._wanted.clear()
