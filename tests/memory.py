"""Peak memory of a piece of Python, in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Mapping

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
    done = subprocess.run(
        [sys.executable, "-c", _LOOKING, code, *arguments],
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1]) * 1024
