"""Runs a command and measures it whole: seconds, processor time, peak memory of its process tree, bytes it wrote."""

import os
import resource
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import psutil

# Looking at the tree takes 7 ms: at 30 ms it kept a quarter of a core from what is measured.
_POLL_SECONDS = 0.1
# Proportional sizes cost the kernel a walk over all pages: looked at only where the peak has grown by so much.
_PEAK_STEP = 1.02


@dataclass(frozen=True)
class Measurement:
    """One run of a command.

    Attributes:
        seconds: From process start to exit.
        cpu_seconds: Processor time of the tree, user and system.
        server_cpu_seconds: Processor time of PostgreSQL meanwhile; 0 where it was not looked at.
        peak_bytes: Largest sum of resident memory over the process tree, sampled every 100 ms. Pages that processes
            share count once for each, so it is an upper bound.
        peak_shared_bytes: The same about that moment, each shared page divided among those who have it (PSS).
        written_bytes: What the tree handed to write calls (pages may still be in the cache); -1 where not to be had.
    """

    seconds: float
    cpu_seconds: float
    server_cpu_seconds: float
    peak_bytes: int
    peak_shared_bytes: int
    written_bytes: int


def measure(
    command: Sequence[str], environment: Mapping[str, str], server_pid: int | None = None
) -> tuple[Measurement, str]:
    """Run a command to its end.

    Args:
        environment: What is added to this process's environment.
        server_pid: PostgreSQL's first process, whose processor time is then measured too.

    Returns:
        What was measured, and what the command printed.

    Raises:
        RuntimeError: It failed; the end of its output is in the message.
    """
    server = tree_cpu(server_pid)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    # The kernel adds what a process wrote to its parent's counter when that has waited for it: each byte is here once.
    written = _written()
    tree = _Tree()
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        started = time.monotonic()
        with subprocess.Popen(
            command, env={**os.environ, **environment}, stdout=output, stderr=subprocess.STDOUT
        ) as process:
            root = psutil.Process(process.pid)
            while process.poll() is None:
                tree.look(root)
                time.sleep(_POLL_SECONDS)
            seconds = time.monotonic() - started
        output.seek(0)
        said = output.read()
    if process.returncode:
        raise RuntimeError(f"{command[0]} exited with status {process.returncode}:\n{said[-3000:]}")
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Measurement(
        seconds=seconds,
        cpu_seconds=now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime,
        server_cpu_seconds=tree_cpu(server_pid) - server,
        peak_bytes=tree.peak,
        peak_shared_bytes=tree.shared,
        written_bytes=-1 if written < 0 else _written() - written,
    ), said


class _Tree:
    """What was seen of a process and all below it."""

    def __init__(self) -> None:
        self.peak = 0
        self.shared = 0
        self._shared_at = 0.0

    def look(self, root: psutil.Process) -> None:
        total = 0
        try:
            processes = [root, *root.children(recursive=True)]
        except psutil.Error:
            return
        for process in processes:
            try:
                total += process.memory_info().rss
            except psutil.Error:
                continue
        self.peak = max(self.peak, total)
        if total > self._shared_at * _PEAK_STEP:
            self._shared_at = total
            self.shared = max(self.shared, sum(_proportional(process) for process in processes))


def _proportional(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, AttributeError):
        return 0


def _written() -> int:
    """Bytes that this process and those that it has waited for handed to write calls; -1 where not to be had."""
    try:
        return int(psutil.Process().io_counters().write_chars)
    except (psutil.Error, AttributeError):
        return -1


def tree_cpu(pid: int | None) -> float:
    """Processor time of a process and those below it, the ones that ended too (their parent has inherited it)."""
    if pid is None:
        return 0.0
    root = psutil.Process(pid)
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


def median(measurements: Sequence[Measurement]) -> Measurement:
    """The median of each figure."""
    return Measurement(
        *(statistics.median(getattr(m, field.name) for m in measurements) for field in fields(Measurement))
    )
