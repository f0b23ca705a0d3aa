"""`python -m bench.remote EXPORT_DIR ID ...`: push snapshots of an export folder, one after the other, and measure.

To a new bucket of moto's S3 server on this machine, or to `--url`. The folder is only read. The last snapshot is pushed
twice, which is a push with nothing changed. Each push is a process of its own.
"""

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_bucket() -> Iterator[tuple[str, dict[str, str]]]:
    """Prefix in a bucket of a new server, and the variables that lead there."""
    from tests.remote.kit import Bucket, s3_server, store_environment  # noqa: PLC0415  not in what is measured

    with s3_server() as endpoint:
        yield Bucket(endpoint, "bench").url, store_environment(endpoint)


def push(export_dir: Path, snapshot_id: str, url: str) -> None:
    """Push one snapshot and print what it took, as JSON."""
    from pipelines.remote.pushing import push_snapshot  # noqa: PLC0415  in the process that is measured
    from pipelines.settings import load_settings  # noqa: PLC0415
    from pipelines.snapshots.lookup import find_snapshot  # noqa: PLC0415

    settings = load_settings({"export_dir": export_dir, "publish_url": url})
    pushed = push_snapshot(settings, find_snapshot(export_dir, snapshot_id))
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "snapshot": snapshot_id,
                "seconds": round(pushed.seconds, 1),
                "cpu_s": round(usage.ru_utime + usage.ru_stime, 1),
                "sent_objects": pushed.sent_objects,
                "sent_bytes": pushed.sent_bytes,
                "peak_mib": usage.ru_maxrss // 1024,
            }
        )
    )


def main() -> None:
    """Push each, each in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("export_dir", type=Path)
    parser.add_argument("ids", nargs="+")
    parser.add_argument("--url", help="a prefix to push to, instead of moto's server")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.here:
        push(given.export_dir, given.ids[0], given.url)
        return
    with contextlib.nullcontext((given.url, {})) if given.url else new_bucket() as (url, variables):
        for snapshot_id in [*given.ids, given.ids[-1]]:
            command = [sys.executable, "-m", "bench.remote", str(given.export_dir), snapshot_id, "--url", url, "--here"]
            subprocess.run(command, check=True, env={**os.environ, **variables})


if __name__ == "__main__":
    main()
