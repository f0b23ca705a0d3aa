"""`python -m bench.stages`: the stages of a run on each engine, side by side, and what 1,000,000,000 rows would take.

Each run is a process of its own. For ENGINE=ray a cluster is started on this machine, and Polars has one thread in each
task. With `--write` it goes into docs/benchmarks.md.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import median

import psutil

import pipelines.system.runtime_tuning  # noqa: F401  before Polars, as in a run

# isort: split
from bench.chart import write_chart
from bench.document import write_section
from bench.generate import fill, fill_narrow
from bench.session import BUILD, FLOOR, ROOT, open_session
from pipelines.export import hold_run
from pipelines.report.charts import draw_bars
from pipelines.settings import load_settings

_MB = 10**6
_CANDIDATES = 1_000_000_000
# The cluster of the model: what a usual node has, and what PostgreSQL gives a reader.
_CORES, _SERVER_CORES = 16, 16
_NODES = (1, 2, 4, 8, 16, 32)
_STAGES = ("stage", "build", "derive", "publish")


def run_stages() -> dict[str, dict[str, float]]:
    """Run one export in this process; of each stage seconds, CPU seconds, and megabytes written, of the coordinator."""
    found: dict[str, dict[str, float]] = {}
    process = psutil.Process()
    with hold_run(load_settings()) as run:
        for name in _STAGES:
            started, cpu, written = time.monotonic(), sum(process.cpu_times()[:4]), process.io_counters().write_chars
            getattr(run, name)()
            found[name] = {
                "seconds": time.monotonic() - started,
                "cpu": sum(process.cpu_times()[:4]) - cpu,
                "written_mb": (process.io_counters().write_chars - written) / _MB,
            }
    return found


def model(measured: Mapping[str, Mapping[str, float]], candidates: int) -> list[tuple[int, dict[str, float]]]:
    """Hours of each part of a run of 1,000,000,000 candidates, by number of nodes.

    Args:
        measured: Of ENGINE=local with this many candidates: `stage`, `build`, `derive`, `publish`; and `server`, CPU
            seconds of PostgreSQL.

    Returns:
        Nodes, and hours by part. Reading takes as long as the slower of readers and server. `publish` is the
        coordinator's alone: exports.duckdb, and the comparison of both formats.
    """
    hours = _CANDIDATES / candidates / 3600
    found = []
    for nodes in _NODES:
        cores = nodes * _CORES
        read = max(measured["stage"]["cpu"] / cores, measured["server"]["cpu"] / min(cores, _SERVER_CORES))
        parts = {
            "read": read * hours,
            "build": measured["build"]["cpu"] / cores * hours,
            "derive": measured["derive"]["cpu"] / cores * hours,
            "publish": measured["publish"]["seconds"] * hours,
        }
        found.append((nodes, parts))
    return found


def draw_model(rows: Sequence[tuple[int, Mapping[str, float]]], path: Path) -> None:
    """Draw the hours that the nodes share, by their number; those of the coordinator stand beside."""
    labels = [f"{nodes} nodes" if nodes > 1 else "1 node" for nodes, _ in rows]
    shared = [sum(parts.values()) - parts["publish"] for _, parts in rows]
    texts = [f"{hours:.2f} + {parts['publish']:.2f}" for hours, (_, parts) in zip(shared, rows, strict=True)]
    spec = draw_bars(labels, shared, texts)
    write_chart(spec, "1,000,000,000 candidates: hours of the nodes", "+ hours of the coordinator", path)


def _measure(url: str, engine: str) -> dict[str, dict[str, float]]:
    """One run in a process of its own; `peak` is the largest sum over its process tree, in MiB."""
    exports = BUILD / f"exports_{engine}"
    shutil.rmtree(exports, ignore_errors=True)
    environment = {**os.environ, "DATABASE_URL": url, "EXPORT_DIR": str(exports), "ENGINE": engine}
    environment.pop("RAY_ADDRESS", None)
    command = [sys.executable, "-m", "bench.stages", "--one"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        root, coordinator, workers = psutil.Process(process.pid), 0, 0
        while process.poll() is None:
            with suppress(psutil.Error):
                coordinator = max(coordinator, root.memory_info().rss)
                workers = max([workers, *(child.memory_info().rss for child in root.children(recursive=True))])
            time.sleep(0.1)
        said = process.stdout.read() if process.stdout else ""
    if process.returncode:
        raise RuntimeError(f"a run on {engine} ended with status {process.returncode}")
    found: dict[str, dict[str, float]] = json.loads(said.splitlines()[-1])
    found["peak"] = {"coordinator": coordinator / 2**20, "worker": workers / 2**20}
    return found


def table(runs: Mapping[str, Sequence[Mapping[str, Mapping[str, float]]]]) -> list[str]:
    """The stages of each engine: medians of seconds, CPU seconds of the coordinator, largest memory."""
    lines = [
        f"| engine | {' | '.join(_STAGES)} | all, seconds | CPU s | written MB | coordinator MiB | a worker MiB |",
        f"|---|{'---:|' * (len(_STAGES) + 5)}",
    ]
    for engine, found in runs.items():
        cells = [f"{median(run[name]['seconds'] for run in found):.1f}" for name in _STAGES]
        sums = {
            what: median(sum(run[name][what] for name in _STAGES) for run in found)
            for what in ("seconds", "cpu", "written_mb")
        }
        peaks = [max(run["peak"][what] for run in found) for what in ("coordinator", "worker")]
        cells += [f"{value:,.1f}" for value in sums.values()] + [f"{peak:,.0f}" for peak in peaks]
        lines.append(f"| {engine} | {' | '.join(cells)} |")
    return lines


def model_table(rows: Sequence[tuple[int, Mapping[str, float]]]) -> list[str]:
    """Hours by number of nodes."""
    lines = ["| nodes | read | build | derive | publish | all, hours |", "|---:|---:|---:|---:|---:|---:|"]
    return lines + [
        f"| {nodes} | {' | '.join(f'{hours:.2f}' for hours in parts.values())} | {sum(parts.values()):.1f} |"
        for nodes, parts in rows
    ]


def main() -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--domains", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--engines", nargs="+", default=["local", "ray"])
    parser.add_argument("--narrow", action="store_true", help="rows of few columns, two candidates a domain")
    parser.add_argument("--write", action="store_true", help="into docs/benchmarks.md, with its chart")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(run_stages()))
        return
    lines: list[str] = []
    with open_session() as session:
        for domains in arguments.domains:
            fill_source = fill_narrow if arguments.narrow else partial(fill, random_order=True)
            _, candidates = fill_source(session.url, domains)
            runs: dict[str, list[dict[str, dict[str, float]]]] = {engine: [] for engine in arguments.engines}
            for turn in range(arguments.rounds):
                session.measure_floor()
                for engine in arguments.engines[:: -1 if turn % 2 else 1]:
                    before = session.server_cpu()
                    run = _measure(session.url, engine)
                    run["server"] = {"cpu": session.server_cpu() - before}
                    runs[engine].append(run)
                    print(f"{domains:,} domains, round {turn + 1}, {engine}: {json.dumps(run)}", flush=True)
            kind = "narrow rows" if arguments.narrow else "random order"
            floor = median(found.seconds for found in session.results.pop(FLOOR))
            told = f"{domains:,} domains, {candidates:,} candidates, {kind}; F {floor:.1f} s; {arguments.rounds} rounds"
            lines += [f"{told}, {datetime.now(UTC):%F}:", "", *table(runs), ""]
            print("\n".join(["", *lines[-len(table(runs)) - 3 :]]), flush=True)
    first = next(iter(runs.values()))
    measured = {
        name: {what: median(run[name][what] for run in first) for what in first[0][name]}
        for name in (*_STAGES, "server")
    }
    rows = model(measured, candidates)
    print("\n".join(model_table(rows)))
    if arguments.write:
        write_section("scale", lines[:-1])
        write_section("model", model_table(rows))
        draw_model(rows, ROOT / "docs" / "images" / "scale.svg")


if __name__ == "__main__":
    main()
