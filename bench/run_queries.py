"""`make bench-queries`: the ten questions of docs/analysts.md, asked of exports.duckdb and of PostgreSQL.

With --write it writes the section `queries` of docs/benchmarks.md; always build/bench/queries.json.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import psycopg

from bench.document import write_section
from bench.generate import fill
from bench.questions import comparable, questions, subjects
from bench.session import BUILD, RUN, describe, open_session
from pipelines.snapshots.opening import published_snapshot


def timed(ask: Callable[[], list[tuple[Any, ...]]], rounds: int) -> tuple[float, list[tuple[Any, ...]]]:
    """Median of the seconds, and the answer."""
    seconds, answer = [], []
    for _ in range(rounds):
        started = time.monotonic()
        answer = ask()
        seconds.append(time.monotonic() - started)
    return statistics.median(seconds), answer


def main() -> None:
    """Fill, export, ask, write.

    Raises:
        RuntimeError: Both gave different answers.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    options = parser.parse_args()
    found = []
    with open_session() as session:
        print(f"Filling PostgreSQL with {options.domains:,} domains ...", flush=True)
        rows, candidates = fill(session.url, options.domains, random_order=False)
        session.measure("full", RUN)
        snapshot = published_snapshot(session.exports)
        with snapshot.connect() as exported, psycopg.connect(session.url, autocommit=True) as source:
            for question in questions(*subjects(source)):
                ours, our_answer = timed(lambda q=question: exported.execute(q.exported).fetchall(), options.rounds)
                theirs, their_answer = timed(
                    lambda q=question: source.execute(q.source.encode()).fetchall(), options.rounds
                )
                if comparable(our_answer) != comparable(their_answer):
                    raise RuntimeError(f"question {question.number} has two answers")
                found.append((question.number, question.title, len(our_answer), ours, theirs))
                print(f"{question.number:>2} {ours * 1000:9.1f} ms {theirs * 1000:9.1f} ms", flush=True)
    lines = [
        describe(rows, candidates, "insertion", options.rounds),
        "",
        "| question | rows | exports.duckdb, ms | PostgreSQL, ms | times as fast |",
        "|---|---:|---:|---:|---:|",
        *(
            f"| {number}. {title} | {count:,} | {ours * 1000:,.0f} | {theirs * 1000:,.0f} | {theirs / ours:,.1f} |"
            for number, title, count, ours, theirs in found
        ),
    ]
    (BUILD / "queries.json").write_text(json.dumps(found, indent=1))
    print("\n".join(lines))
    if options.write:
        write_section("queries", lines)


if __name__ == "__main__":
    main()
