"""`python -m bench.serving`: the export endpoints beside three other ways, on one database and one machine.

Two questions, by one client and by eight: a batch of 5,000 domains as JSON, and the candidates of one domain. Prints a
table, writes build/bench/serving.json, and with --write the section of docs/benchmarks.md between its markers.
"""

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import numpy as np
import psycopg

from bench.document import write_section
from bench.generate import BATCH_ROWS, SEED, fill
from bench.measure import tree_cpu
from bench.serving.load import Plan
from bench.serving.report import BATCH, CANDIDATES, Measured, lines_of
from bench.serving.servers import Server, running, servers, set_up
from bench.session import BUILD, ROOT, RUN, Session, open_session

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
    server: Server, question: str, paths: list[str], clients: int, seconds: float, session: Session
) -> Measured:
    """Start a server, ask for everything once, load it, stop it.

    Raises:
        RuntimeError: A request failed.
    """
    transactions, rows = counters_of(session.url)
    with running(server) as (port, process):
        first = load(Plan(port, paths, 1, _WARM_UP_SECONDS, len(paths)))
        postgres_cpu, server_cpu = session.server_cpu(), tree_cpu(process.pid)
        found = load(Plan(port, paths, clients, seconds, _MAX_REQUESTS))
        postgres_cpu = session.server_cpu() - postgres_cpu
        server_cpu = tree_cpu(process.pid) - server_cpu
    transactions_after, rows_after = counters_of(session.url)
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
        transactions=(transactions_after - transactions) / (requests + len(first["latencies"])),
        rows=(rows_after - rows) / (requests + len(first["latencies"])),
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


def counters_of(url: str) -> tuple[int, int]:
    """Transactions of a database, committed and rolled back, and rows that scans read, since it was made.

    A backend adds its own at the latest when it ends: read before a server is started and after it has ended.
    """
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute(
            "SELECT xact_commit + xact_rollback, tup_returned + tup_fetched FROM pg_stat_database"
            " WHERE datname = current_database()"
        ).fetchone()
    assert row is not None  # noqa: S101  the database that was asked
    return row


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
    set_up()
    measured: list[Measured] = []
    with open_session() as session:
        print(f"Filling PostgreSQL with {options.domains:,} domains ...", flush=True)
        rows, candidates = fill(session.url, options.domains, random_order=True)
        with psycopg.connect(session.url, autocommit=True) as connection:
            # The application's own queries have it; the export needs none.
            connection.execute("CREATE INDEX ON domains (batch_id)")
        session.measure("export", [*RUN, "--accept-new-source", "--accept-shrink"])
        paths = paths_of(session.url)
        compared = [
            one for one in servers(session.url, session.exports) if not options.only or one.name in options.only
        ]
        for question in (BATCH, CANDIDATES):
            for clients in CLIENTS:
                for server in compared:
                    one = measure(server, question, paths[question], clients, options.seconds, session)
                    measured.append(one)
                    print(one.line(), flush=True)
    head = (
        f"{rows:,} domains, {candidates:,} candidates, batches of {BATCH_ROWS:,}, PostgreSQL, servers and clients on"
        f" one machine, {os.cpu_count()} cores, {options.seconds:g} s each, {datetime.now(UTC):%F}."
    )
    lines = [head, "", *lines_of(measured, compared)]
    (BUILD / "serving.json").write_text(json.dumps([asdict(one) for one in measured], indent=1), encoding="utf-8")
    print("\n".join(lines))
    if options.write:
        write_section("serving", lines)


if __name__ == "__main__":
    main()
