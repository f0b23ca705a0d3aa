"""`make bench-peers`: what a user would pick instead, beside the floor and our full run, in turn on one database.

With --write it writes the section `peers` of docs/benchmarks.md and its chart; always build/bench/peers.json.
"""

import argparse
import json
import shutil
import sys
from dataclasses import asdict, replace

from bench.agreement import differing_rows
from bench.chart import draw_ratios
from bench.document import figures, write_section
from bench.generate import fill
from bench.measure import Measurement, median
from bench.peer_list import PEERS, Peer, what_each_does
from bench.session import BUILD, FLOOR, ROOT, RUN, Session, describe, open_session, python_of

OURS = "ours"
NAMES = {
    FLOOR: "F: binary COPY of both tables, thrown away",
    OURS: "lei-exports: all tables, both formats, Dagster, verified",
    "two": "lei-exports: two tables, both formats",
    **{peer.name: peer.label for peer in PEERS},
}


def python_of_peer(peer: Peer) -> str:
    """The interpreter of a peer's environment."""
    return python_of(ROOT / "bench" / "peers" / f"{peer.environment}.lock", BUILD / f"env-{peer.environment}")


def extrapolated(result: Measurement, reported: dict[str, float]) -> Measurement:
    """What the whole work would have taken, where a sample was done; memory is that of the sample."""
    whole = result.seconds - reported["sampled_s"] + reported["sampled_s"] / reported["share"]
    factor = whole / result.seconds
    return replace(
        result,
        seconds=whole,
        cpu_seconds=result.cpu_seconds * factor,
        server_cpu_seconds=result.server_cpu_seconds * factor,
        written_bytes=int(result.written_bytes * factor),
    )


def measure_peer(session: Session, peer: Peer, rows: dict[str, int], *, is_first: bool) -> None:
    """Measure a peer once.

    Raises:
        RuntimeError: It failed, or what it wrote is not what we publish.
    """
    folder = BUILD / "peers" / peer.name
    shutil.rmtree(folder, ignore_errors=True)
    script = [python_of_peer(peer), "-m", f"bench.peers.{peer.module}"]
    command = [*script, session.url, str(folder), *peer.arguments]
    said = session.measure(peer.name, command, {"PYTHONPATH": str(ROOT)})
    reported = json.loads(said.strip().splitlines()[-1])
    if reported["share"] < 1:
        result = session.results[peer.name].pop()
        session.keep(peer.name, extrapolated(result, reported))
    elif any(reported["rows"][table] != rows[table] for table in reported["rows"]):
        raise RuntimeError(f"{peer.name} should have written {rows}, found {reported['rows']}")
    if is_first and (differing := differing_rows(folder, session.exports)):
        raise RuntimeError(f"{peer.name}: {differing:,} rows of domain_exports differ from ours")


def main() -> None:
    """Fill, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=[peer.name for peer in PEERS], help="some of the peers")
    parser.add_argument("--write", action="store_true", help="write table and chart into docs/")
    options = parser.parse_args()
    peers = [peer for peer in PEERS if not options.only or peer.name in options.only]
    for peer in peers:
        python_of_peer(peer)
    with open_session() as session:
        print(f"Filling PostgreSQL with {options.domains:,} domains ...", flush=True)
        rows, candidates = fill(session.url, options.domains, random_order=True)
        for number in range(options.rounds):
            shutil.rmtree(session.exports, ignore_errors=True)
            session.measure_floor()
            session.measure(OURS, RUN)
            ours = {table["name"]: table["rows"] for table in session.manifest()["tables"]}
            for place, peer in enumerate(peers):
                if place == len(peers) // 2:
                    session.measure_floor()
                measure_peer(session, peer, ours, is_first=number == 0)
            session.measure("two", [sys.executable, "-m", "bench.two_tables"])
        results = session.results
    shutil.rmtree(BUILD / "peers", ignore_errors=True)
    lines = [
        describe(rows, candidates, "random", options.rounds)
        + " Marked with ≈: extrapolated from a sample; memory as it was for the sample.",
        "",
        *figures(NAMES, results),
        "",
        *what_each_does(),
    ]
    kept = {what: [asdict(m) for m in found] for what, found in results.items()}
    (BUILD / "peers.json").write_text(json.dumps(kept, indent=1))
    print("\n".join(lines))
    if options.write:
        write_section("peers", lines)
        floor = median(results[FLOOR]).seconds
        ratios = {what: median(found).seconds / floor for what, found in results.items() if what != FLOOR}
        draw_ratios(ratios, ROOT / "docs" / "images" / "benchmarks.svg")


if __name__ == "__main__":
    main()
