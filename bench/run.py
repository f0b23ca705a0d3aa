"""`make bench`: the floor, our runs and an empty job on one database, in turn; medians and ratios to the floor.

With --write it writes the sections `bench`, `stages` and `blocks` of docs/benchmarks.md; build/bench/results.json it
writes always.
"""

import argparse
import json
import os
import shutil
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict

import psycopg

from bench.blocks import TITLES as BLOCK_TITLES
from bench.document import figures, write_section
from bench.generate import fill
from bench.measure import Measurement, median
from bench.session import BUILD, FLOOR, RUN, Session, describe, open_session

_PYTHON = sys.executable
_SHOWN_SECONDS = 0.05

NAMES = {
    FLOOR: "F: binary COPY of both tables, thrown away",
    "empty": "D: the same assets and checks, doing nothing",
    "full": "ours, full: all tables, both formats",
    "bare": "the same without Dagster, checks, digests, verification and report",
    "two": "ours, domain_exports and candidate_exports alone",
    "nothing": "ours, nothing changed",
    "one_domain": "ours, one domain changed",
    "one_batch": "ours, 1 % changed in one batch",
    "all_over": "ours, 1 % changed all over",
}
Timings = dict[str, dict[str, list[float]]]


def change(url: str, where: str) -> None:
    """Process some domains again, as the application does: their row and all their candidates are written again.

    Times, confidence and scores differ afterwards; LEIs, names and ranks are the same.
    """
    domains, candidates = where.format("id"), where.format("domain_id")
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(
            "UPDATE domains SET retry_count = retry_count + 1, confidence_score = (confidence_score + 7) / 2,"
            f" processed_at = processed_at + interval '1 day' WHERE {domains}".encode()
        )
        connection.execute(
            "UPDATE gleif_candidates SET weighted_score = weighted_score - 1,"
            f" created_at = created_at + interval '1 day' WHERE {candidates}".encode()
        )


class Bench:
    """Our runs, and what they say of their stages."""

    def __init__(self, session: Session, rows: int) -> None:
        self.session = session
        self.rows = rows
        self.timings: Timings = defaultdict(lambda: defaultdict(list))

    def run(self, what: str) -> None:
        """Measure the job as a user runs it."""
        self.session.measure(what, RUN)
        if what != "nothing":  # which publishes nothing: the manifest is of the run before
            for stage, seconds in self.session.manifest()["timings_s"].items():
                self.timings[what][stage].append(seconds)

    def round(self, number: int, *, is_whole: bool) -> None:
        """Each command once; else the floor and the full run alone."""
        shutil.rmtree(self.session.exports, ignore_errors=True)
        self.session.measure_floor()
        self.run("full")
        if not is_whole:
            return
        self.run("nothing")
        change(self.session.url, f"{{0}} = {self.rows // 2 + number}")
        self.run("one_domain")
        self.session.measure("bare", [_PYTHON, "-m", "bench.bare"])
        for block in BLOCK_TITLES:
            self.session.measure(block, [_PYTHON, "-m", "bench.blocks", block])
        share = max(1, self.rows // 100)
        change(self.session.url, f"{{0}} BETWEEN {number * share + 1} AND {(number + 1) * share}")
        self.run("one_batch")
        self.session.measure_floor()
        change(self.session.url, f"{{0}} % 100 = {number % 100}")
        self.run("all_over")
        self.session.measure("two", [_PYTHON, "-m", "bench.two_tables"])
        self.session.measure("empty", [_PYTHON, "-m", "bench.empty_job"])


def stages(timings: Timings, results: Mapping[str, Sequence[Measurement]]) -> list[str]:
    """A table of the seconds per stage that runs write into their manifest, medians, and the whole run at the end."""
    kinds = list(timings)
    lines = [f"| stage | {' | '.join(NAMES[kind] for kind in kinds)} |", f"|---|{'---:|' * len(kinds)}"]
    for stage in dict.fromkeys(stage for kind in kinds for stage in timings[kind]):
        seconds = [statistics.median(timings[kind].get(stage, [0.0])) for kind in kinds]
        if max(seconds) >= _SHOWN_SECONDS:
            lines.append(f"| {stage} | {' | '.join(f'{s:.1f}' for s in seconds)} |")
    whole = " | ".join(f"{median(results[kind]).seconds:.1f}" for kind in kinds)
    return [*lines, f"| the run, from start to exit | {whole} |"]


def blocks(results: Mapping[str, Sequence[Measurement]]) -> list[str]:
    """A table of what a full run can't do without, and the least that they take on all cores together."""
    floor, cores = median(results[FLOOR]).seconds, os.cpu_count() or 1
    lines = ["| part, alone | seconds | CPU s, PostgreSQL's included |", "|---|---:|---:|"]
    total = 0.0
    for block, title in BLOCK_TITLES.items():
        m = median(results[block])
        work = m.cpu_seconds + m.server_cpu_seconds
        total += work
        lines.append(f"| {title} | {m.seconds:.1f} | {work:.1f} |")
    least = total / cores
    return [
        *lines,
        f"| together | | {total:.1f} |",
        "",
        f"{total:.1f} CPU seconds on {cores} cores are {least:.1f} s, {least / floor:.1f} F, before anything is"
        " validated, sorted, joined or summed up.",
    ]


def main() -> None:
    """Fill, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help="write the tables into docs/benchmarks.md")
    options = parser.parse_args()
    lines, kept = [], {}
    with open_session() as session:
        for order in ("random", "insertion"):
            print(f"Filling PostgreSQL with {options.domains:,} domains, {order} order ...", flush=True)
            rows, candidates = fill(session.url, options.domains, random_order=order == "random")
            session.results.clear()
            bench = Bench(session, rows)
            for number in range(options.rounds):
                bench.round(number, is_whole=order == "random")
            kept[order] = {what: [asdict(m) for m in found] for what, found in session.results.items()}
            lines += [describe(rows, candidates, order, options.rounds), "", *figures(NAMES, session.results), ""]
            if order == "random":
                kept["timings_s"] = bench.timings
                staged = stages(bench.timings, session.results)
                least = blocks(session.results)
    (BUILD / "results.json").write_text(json.dumps(kept, indent=1))
    print("\n".join([*lines, *staged, "", *least]))
    if options.write:
        write_section("bench", lines[:-1])
        write_section("stages", staged)
        write_section("blocks", least)


if __name__ == "__main__":
    main()
