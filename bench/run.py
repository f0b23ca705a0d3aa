"""`make bench`: the floor, our runs and an empty job on one database, in turn; medians and ratios to the floor.

Writes the table of docs/benchmarks.md between its markers, and build/bench/results.json.
"""

import argparse
import json
import os
import re
import shutil
import sys
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from bench.generate import fill
from bench.measure import Measurement, measure, median
from pipelines.sample.embedded import embedded_server

ROOT = Path(__file__).resolve().parents[1]
BUILD = ROOT / "build" / "bench"
DOCUMENT = ROOT / "docs" / "benchmarks.md"
MARKERS = ("<!-- bench: begin -->", "<!-- bench: end -->")
PYTHON = sys.executable
RUN = [str(Path(sys.executable).with_name("lei-exports")), "run"]

NAMES = {
    "floor": "F: binary COPY of both tables, thrown away",
    "empty": "D: the same assets and checks, doing nothing",
    "full": "ours, full: all tables, both faces",
    "two": "ours, domain_exports and candidate_exports alone",
    "nothing": "ours, nothing changed",
    "one_batch": "ours, 1 % changed in one batch",
    "all_over": "ours, 1 % changed all over",
}


def change(url: str, where: str) -> None:
    """Touch rows of `domains` and their candidates."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"UPDATE domains SET retry_count = retry_count + 1 WHERE {where.format('id')}".encode())
        connection.execute(
            f"UPDATE gleif_candidates SET rank_position = rank_position WHERE {where.format('domain_id')}".encode()
        )


class Bench:
    """One database, one folder of exports, and what was measured on them."""

    def __init__(self, url: str, rows: int) -> None:
        self.url = url
        self.rows = rows
        self.results: defaultdict[str, list[Measurement]] = defaultdict(list)
        self.timings: dict[str, float] = {}
        self.environment = {
            "DATABASE_URL": url,
            "EXPORT_DIR": str(BUILD / "exports"),
            "DAGSTER_HOME": str(BUILD / "dagster_home"),
        }

    def measure(self, what: str, command: list[str]) -> None:
        """Measure a command once and say so."""
        result = measure(command, self.environment)
        self.results[what].append(result)
        print(f"{what:<10} {result.seconds:7.1f} s {result.peak_bytes / 2**20:8.0f} MiB", flush=True)

    def round(self, number: int) -> None:
        """Each command once."""
        shutil.rmtree(BUILD / "exports", ignore_errors=True)
        self.measure("floor", [PYTHON, "-m", "bench.floor", self.url])
        self.measure("full", RUN)
        self.timings = json.loads((BUILD / "exports" / "current" / "manifest.json").read_bytes())["timings_s"]
        self.measure("nothing", RUN)
        one = self.rows // 100
        change(self.url, f"{{0}} BETWEEN {number * one + 1} AND {(number + 1) * one}")
        self.measure("one_batch", RUN)
        self.measure("floor", [PYTHON, "-m", "bench.floor", self.url])
        change(self.url, f"{{0}} % 100 = {number}")
        self.measure("all_over", RUN)
        self.measure("two", [PYTHON, "-m", "bench.two_tables"])
        self.measure("empty", [PYTHON, "-m", "bench.empty_job"])


def table(bench: Bench) -> list[str]:
    """The table of the document."""
    floor = median(bench.results["floor"]).seconds
    lines = ["| what | seconds | x F | peak MiB | written MB |", "|---|---:|---:|---:|---:|"]
    for what, name in NAMES.items():
        m = median(bench.results[what])
        ratio, peak, written = m.seconds / floor, m.peak_bytes / 2**20, m.written_bytes / 1e6
        lines.append(f"| {name} | {m.seconds:.1f} | {ratio:.2f} | {peak:.0f} | {written:,.0f} |")
    return lines


def write_document(lines: list[str]) -> None:
    """Put lines between the markers of docs/benchmarks.md."""
    text = DOCUMENT.read_text(encoding="utf-8")
    begin, end = MARKERS
    body = "\n".join([begin, "", *lines, "", end])
    DOCUMENT.write_text(re.sub(f"{begin}.*?{end}", lambda _: body, text, flags=re.DOTALL), encoding="utf-8")


def main() -> None:
    """Fill, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--insertion-order", action="store_true", help="candidates in insertion order, not random")
    parser.add_argument("--write", action="store_true", help="write the table into docs/benchmarks.md")
    options = parser.parse_args()
    BUILD.mkdir(parents=True, exist_ok=True)
    with embedded_server(BUILD / "postgres") as url:
        print(f"Filling PostgreSQL with {options.domains:,} domains ...", flush=True)
        rows, candidates = fill(url, options.domains, random_order=not options.insertion_order)
        bench = Bench(url, rows)
        for number in range(options.rounds):
            bench.round(number)
    lines = [
        f"{rows:,} domains, {candidates:,} candidates in {'insertion' if options.insertion_order else 'random'} order, "
        f"PostgreSQL on the same machine, {os.cpu_count()} cores, median of {options.rounds}, {datetime.now(UTC):%F}.",
        "",
        *table(bench),
        "",
        "Stages of the last full run, seconds (manifest.json, `timings_s`): "
        + ", ".join(f"{name} {seconds:.1f}" for name, seconds in bench.timings.items() if seconds >= 0.05),  # noqa: PLR2004
    ]
    results: dict[str, Any] = {what: [vars(m) for m in found] for what, found in bench.results.items()}
    (BUILD / "results.json").write_text(json.dumps({"results": results, "timings": bench.timings}, indent=1))
    print("\n".join(lines))
    if options.write:
        write_document(lines)


if __name__ == "__main__":
    main()
