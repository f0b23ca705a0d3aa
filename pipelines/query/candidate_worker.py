"""The process that reads candidates ahead for a server: `python -m pipelines.query.candidate_worker`.

A process of its own because it must not be felt: beside the server's requests the same work in a thread made the 99th
percentile of their time 28 to 50 ms instead of 3 to 7, by Python's lock and by taking a core. It runs on idle time.

Protocol: a line of JSON on stdin (WorkerTask), then a line per group (Group). To each a line on stdout: `ids` and
`sizes` of the arrays that were written; `too_large`, the bytes that they would take, where they are more than may be;
`failed`, DuckDB's kind of error; or `disk`, why the file does not take them. The end of stdin ends it.
"""

import json
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from pipelines.query.attached import open_attached
from pipelines.query.candidate_arrays import ArrayQueries, TooManyError, read_arrays
from pipelines.system.processes import close_inherited, die_with_parent, set_idle_priority


@dataclass(frozen=True)
class WorkerTask:
    """What the process reads from and writes to.

    Attributes:
        database: The DuckDB file.
        memory_mb: Most memory that DuckDB takes, MB.
        most_bytes: More arrays than these are not read at a time.
        domains: Of ArrayQueries.
        candidates: Of ArrayQueries.
        descriptor: Of the file that arrays are written to; inherited.
        parent: Process id of the server.
    """

    database: str
    memory_mb: int
    most_bytes: int
    domains: str
    candidates: str
    descriptor: int
    parent: int

    def to_json(self) -> str:
        """This task in one line."""
        return json.dumps(asdict(self))


class Group(NamedTuple):
    """Rows of domain_exports whose arrays are wanted.

    Attributes:
        first_id: Least id.
        last_id: Greatest id.
        offset: Where in the file their arrays begin.
        most_bytes: How many they may be.
    """

    first_id: int
    last_id: int
    offset: int
    most_bytes: int


def write_group(session: duckdb.DuckDBPyConnection, task: WorkerTask, group: Group) -> dict[str, Any]:
    """Read a group and write it.

    Returns:
        What is answered.
    """
    try:
        queries = ArrayQueries(task.domains, task.candidates)
        ids, arrays = [], []
        size = 0
        for domain_id, array in read_arrays(session, queries, group.first_id, group.last_id, task.most_bytes):
            ids.append(domain_id)
            arrays.append(array.encode())
            size += len(arrays[-1])
        if size > group.most_bytes:
            return {"too_large": size}
        offset = group.offset
        for content in arrays:
            _write(task.descriptor, content, offset)
            offset += len(content)
    except (duckdb.Error, TooManyError) as error:
        # They may be too many for the memory: one row's are not.
        return {"failed": type(error).__name__}
    except OSError as error:
        return {"disk": error.strerror}
    return {"ids": ids, "sizes": [len(array) for array in arrays]}


def _write(descriptor: int, content: bytes, offset: int) -> None:
    view = memoryview(content)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def main() -> None:
    """Do what stdin says, to its end."""
    task = WorkerTask(**json.loads(sys.stdin.buffer.readline()))
    close_inherited(task.descriptor)
    die_with_parent(task.parent)
    set_idle_priority()
    with open_attached(Path(task.database), task.memory_mb) as session:
        for line in sys.stdin.buffer:
            answer = write_group(session, task, Group(*json.loads(line)))
            os.write(sys.stdout.fileno(), json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    main()
