"""Peak memory of a piece of Python, in a process of its own; and rows that are made to take much."""

import os
import sys
from collections.abc import Mapping

from tests.forking import run_program

# 300 domains with a candidate each in batch `b`; the text of one domain has 200 MB and needs twice as much as JSON.
HUGE_ID = 150
HUGE = (
    "INSERT INTO domains (id, domain, status, batch_id)"
    " SELECT n, n || '.example', 'success', 'b' FROM generate_series(1, 300) AS n",
    "INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name)"
    " SELECT n, n, lpad(n::text, 20, '0'), 'N' || n FROM generate_series(1, 300) AS n",
    f"UPDATE domains SET about_section_summary = repeat('0123456\"', 26214400) WHERE id = {HUGE_ID}",
)
HUGE_MB = 1_024  # DATABASE_MEMORY_MB that publishes them

# Of its own pages: mapped files are the system's to drop. A thread looks, because the kernel keeps no peak of these.
_LOOKING = """
import re, sys, threading
_ended, _peak = threading.Event(), [0]
def _look():
    while True:
        is_last = _ended.wait(0.003)
        with open("/proc/self/status") as status:
            _peak[0] = max(_peak[0], int(re.search(r"RssAnon:\\s+(\\d+) kB", status.read())[1]))
        if is_last:
            return
_looker = threading.Thread(target=_look)
_looker.start()
try:
    exec(sys.argv.pop(1), {"__name__": "__main__"})
finally:
    _ended.set()
    _looker.join()
    print(_peak[0], file=sys.stderr)
"""


def peak_bytes(code: str, *arguments: str, environment: Mapping[str, str] | None = None) -> int:
    """Run Python code; the most memory of its own that its process had.

    Args:
        code: The code; `sys.argv[1:]` are the arguments.
        arguments: Its arguments.
        environment: What is added to this process's environment.
    """
    done = run_program([sys.executable, "-c", _LOOKING, code, *arguments], env={**os.environ, **(environment or {})})
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) * 1024
