"""`python -m bench.serving`: the export endpoints beside three other ways, on one database and one machine.

Two questions, by one client and by eight: a batch of 5,000 domains as JSON, and the candidates of one domain. Prints a
table, writes build/bench/serving.json, and with --write the section of docs/benchmarks.md between its markers.
"""

import argparse
import json
import os
import re
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import psycopg

from bench.generate import BATCH_ROWS, SEED, fill
from bench.serving.load import Plan
from bench.serving.postgres import PostgresLoad
from bench.serving.report import BATCH, CANDIDATES, Measured, lines_of
from bench.serving.servers import BUILD, ROOT, Server, running, servers, set_up
from pipelines.sample.embedded import embedded_server

DOCUMENT = ROOT / "docs" / "benchmarks.md"
MARKERS = ("<!-- serving: begin -->", "<!-- serving: end -->")
RESULTS = ROOT / "build" / "bench" / "serving.json"
CLIENTS = (1, 8)
_ASKED_BATCHES = 5
_ASKED_DOMAINS = 2_000
_MAX_REQUESTS = 200_000
_WARM_UP_SECONDS = 120
_LEAST_DOMAINS = 2 * BATCH_ROWS


def paths_of(url: str) -> dict[str, list[str]]:
    """What is asked, by question: some whole batches, and domains spread at random, the same each time."""
    with psycopg.connect(url) as connection:
        batches = connection.execute(
            "SELECT batch_id FROM domains GROUP BY batch_id HAVING count(*) = %s ORDER BY batch_id LIMIT %s",
            (BATCH_ROWS, _ASKED_BATCHES),
        ).fetchall()
        ids = [row[0] for row in connection.execute("SELECT id FROM domains ORDER BY id")]
    chosen = np.random.default_rng(SEED).choice(ids, size=min(_ASKED_DOMAINS, len(ids)), replace=False)
    return {
        BATCH: [f"/export/{row[0]}" for row in batches],
        CANDIDATES: [f"/domains/{domain_id}/candidates" for domain_id in chosen],
    }


def measure(  # noqa: PLR0913, PLR0917  what is varied
    server: Server, question: str, paths: list[str], clients: int, seconds: float, url: str
) -> Measured:
    """Start a server, ask for everything once, load it, stop it.

    Raises:
        RuntimeError: A request failed.
    """
    postgres = PostgresLoad(url)
    before = postgres.counters()
    with running(server) as (port, process):
        first = load(Plan(port, paths, 1, _WARM_UP_SECONDS, len(paths)))
        postgres_cpu, server_cpu = postgres.cpu_seconds(), cpu_seconds_of(process)
        found = load(Plan(port, paths, clients, seconds, _MAX_REQUESTS))
        postgres_cpu = postgres.cpu_seconds() - postgres_cpu
        server_cpu = cpu_seconds_of(process) - server_cpu
    after = postgres.counters()
    requests = len(found["latencies"])
    return Measured(
        server=server.name,
        question=question,
        clients=clients,
        requests=requests,
        per_second=requests / found["seconds"],
        p50_s=float(np.percentile(found["latencies"], 50)),
        p99_s=float(np.percentile(found["latencies"], 99)),
        first_p50_s=float(np.percentile(first["latencies"], 50)),
        first_p99_s=float(np.percentile(first["latencies"], 99)),
        answer_bytes=found["received_bytes"] / requests,
        postgres_cpu_s=postgres_cpu / requests,
        server_cpu_s=server_cpu / requests,
        # Its start asks some things too: as nothing beside the requests.
        transactions=(after.transactions - before.transactions) / (requests + len(first["latencies"])),
        rows=(after.rows - before.rows) / (requests + len(first["latencies"])),
    )


def load(plan: Plan) -> dict[str, Any]:
    """Run the load generator.

    Raises:
        RuntimeError: A request failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.serving.load"],
        cwd=ROOT,
        input=json.dumps(asdict(plan)),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"The load generator failed:\n{done.stderr[-2000:]}")
    found = json.loads(done.stdout)
    if found["failures"]:
        raise RuntimeError(f"A request failed: {found['failures'][0]}")
    return found


def cpu_seconds_of(process: psutil.Process) -> float:
    """Processor time of a server and what it started."""
    times = [one.cpu_times() for one in (process, *process.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def export(url: str, export_dir: Path) -> None:
    """Publish the database for our server.

    Raises:
        RuntimeError: The run failed.
    """
    environment = {"DATABASE_URL": url, "EXPORT_DIR": str(export_dir), "DAGSTER_HOME": str(BUILD / "dagster_home")}
    command = [str(Path(sys.executable).with_name("lei-exports")), "run", "--accept-new-source", "--accept-shrink"]
    done = subprocess.run(command, env={**os.environ, **environment}, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"The export failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def write_document(lines: list[str]) -> None:
    """Put lines between the markers of docs/benchmarks.md, which is made where it is missing."""
    begin, end = MARKERS
    body = "\n".join([begin, "", *lines, "", end])
    text = DOCUMENT.read_text(encoding="utf-8") if DOCUMENT.is_file() else "# Benchmarks\n"
    if begin not in text:
        text = f"{text.rstrip()}\n\n## The export endpoints\n\n{begin}\n{end}\n"
    DOCUMENT.write_text(re.sub(f"{begin}.*?{end}", lambda _: body, text, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    """Fill, export, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--domains", type=int, default=100_000, help="rows of `domains` (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=10, help="of each load (default: %(default)s)")
    parser.add_argument("--only", action="append", help="measure these servers only (node, joinedload, ours ...)")
    parser.add_argument("--write", action="store_true", help="write the section of docs/benchmarks.md")
    options = parser.parse_args()
    if options.domains < _LEAST_DOMAINS:
        parser.error(f"--domains: at least {_LEAST_DOMAINS:,}, two batches")
    BUILD.mkdir(parents=True, exist_ok=True)
    set_up()
    measured: list[Measured] = []
    with embedded_server(BUILD / "postgres") as url:
        print(f"Filling PostgreSQL with {options.domains:,} domains ...", flush=True)
        rows, candidates = fill(url, options.domains, random_order=True)
        with psycopg.connect(url, autocommit=True) as connection:
            # The application's own queries have it; the export needs none.
            connection.execute("CREATE INDEX ON domains (batch_id)")
        print("Exporting ...", flush=True)
        export(url, BUILD / "exports")
        paths = paths_of(url)
        compared = [one for one in servers(url, BUILD / "exports") if not options.only or one.name in options.only]
        for question in (BATCH, CANDIDATES):
            for clients in CLIENTS:
                for server in compared:
                    one = measure(server, question, paths[question], clients, options.seconds, url)
                    measured.append(one)
                    print(one.line(), flush=True)
    head = (
        f"{rows:,} domains, {candidates:,} candidates, batches of {BATCH_ROWS:,}, PostgreSQL, servers and clients on"
        f" one machine, {os.cpu_count()} cores, {options.seconds:g} s each, {datetime.now(UTC):%F}."
    )
    lines = [head, "", *lines_of(measured, compared)]
    RESULTS.write_text(json.dumps([asdict(one) for one in measured], indent=1), encoding="utf-8")
    print("\n".join(lines))
    if options.write:
        write_document(lines)


if __name__ == "__main__":
    main()
