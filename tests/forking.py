"""Processes of their own that begin with everything imported: forked from a server (multiprocessing's forkserver).

A new interpreter takes a second of the processor for that; a fork takes none. The server is one for a process of tests.
"""

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(["tests.killing", "tests.publish.kit"])
_MAX_S = 60


def run_forked(script: str, *arguments: object, status: int | None = 0) -> "subprocess.CompletedProcess[str]":
    """Run a script to its end, with these arguments in sys.argv, as `python -c` does; None: any exit status will do.

    What it prints has to fit into a pipe (64 kB); a file would be no place for it where its size is limited.
    """
    words = [*map(str, arguments)]
    pipes = [CONTEXT.Pipe(duplex=False) for _ in ("stdout", "stderr")]
    process = CONTEXT.Process(target=_play, args=(script, words, *(sender for _, sender in pipes)))
    process.start()
    for _, sender in pipes:
        sender.close()
    process.join(_MAX_S)
    if process.exitcode is None:
        process.kill()
        process.join()
    out, err = (_whole(receiver) for receiver, _ in pipes)
    assert status is None or process.exitcode == status, err
    return subprocess.CompletedProcess(words, process.exitcode or 0, out, err)


def _whole(receiver: Connection) -> str:
    with receiver, os.fdopen(os.dup(receiver.fileno()), encoding="utf-8") as file:
        return file.read()


def _play(script: str, arguments: list[str], stdout: Connection, stderr: Connection) -> None:
    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    sys.argv = ["-c", *arguments]
    exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})  # noqa: S102
