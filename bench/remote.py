"""`python -m bench.remote EXPORT_DIR ID ...`: push snapshots of an export folder, one after the other, and measure.

To a new bucket of moto's S3 server on this machine, or to `--url`. The folder is only read. The last snapshot is pushed
twice, which is a push with nothing changed. Each push is a process of its own.
"""

import argparse
import contextlib
import json
import os
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_KEYS = {"AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench", "AWS_REGION": "us-east-1"}
_START_SECONDS = 60


@contextlib.contextmanager
def s3_server() -> Iterator[dict[str, str]]:
    """The server with a bucket named `bench`; the variables that lead there."""
    import boto3  # noqa: PLC0415  of the tests

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + _START_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                break
            time.sleep(0.1)
        variables = {**_KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ALLOW_HTTP": "true"}
        os.environ.update(variables)
        boto3.client("s3").create_bucket(Bucket="bench")
        yield variables
    finally:
        server.kill()
        server.wait()


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
    with contextlib.nullcontext({}) if given.url else s3_server() as variables:
        url = given.url or "s3://bench/exports"
        for snapshot_id in [*given.ids, given.ids[-1]]:
            command = [sys.executable, "-m", "bench.remote", str(given.export_dir), snapshot_id, "--url", url, "--here"]
            subprocess.run(command, check=True, env={**os.environ, **variables})


if __name__ == "__main__":
    main()
