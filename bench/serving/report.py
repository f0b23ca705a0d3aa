"""The figures of the comparison as Markdown."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench.serving.servers import NODE, ORM, OURS, Server

BATCH, CANDIDATES = "batch", "candidates"
TITLES = {BATCH: "A batch of 5,000 domains with its candidates, JSON", CANDIDATES: "One domain's candidates"}
# What was promised: at least so many times the requests per second of these, for a batch.
TARGETS = {NODE: 20.0, ORM: 5.0}


@dataclass(frozen=True)
class Measured:
    """One server under one load; the figures from `answer_bytes` on are per request.

    Attributes:
        question: `batch` or `candidates`.
        clients: How many asked at a time.
        p50_s: Median latency, seconds.
        p99_s: 99th percentile, seconds; of fewer than 100 requests close to the longest.
        first_p50_s: Median latency of what was asked for the first time, by one client, before the load.
        first_p99_s: 99th percentile of it.
        answer_bytes: Bytes of the body.
        postgres_cpu_s: Processor time of PostgreSQL, seconds.
        server_cpu_s: Processor time of the server, seconds.
    """

    server: str
    question: str
    clients: int
    requests: int
    per_second: float
    p50_s: float
    p99_s: float
    first_p50_s: float
    first_p99_s: float
    answer_bytes: float
    postgres_cpu_s: float
    server_cpu_s: float
    transactions: float
    rows: float

    def line(self) -> str:
        """For the terminal, while it goes on."""
        return (
            f"{self.question:<11}{self.clients} x {self.server:<14}{self.per_second:9.2f}/s"
            f"  p50 {self.p50_s * 1000:8.2f}  p99 {self.p99_s * 1000:8.2f}"
            f"  first: p50 {self.first_p50_s * 1000:8.2f}  p99 {self.first_p99_s * 1000:8.2f} ms"
            f"  {self.answer_bytes / 1e6:7.3f} MB"
        )


def lines_of(measured: Sequence[Measured], servers: Sequence[Server]) -> list[str]:
    """The section: a table a question, ratios beside their targets, what each server does not do."""
    lines: list[str] = []
    titles = {server.name: server.title for server in servers}
    for question, title in TITLES.items():
        lines += [
            f"**{title}**",
            "",
            "| server | clients | requests | per second | p50 ms | p99 ms | first p50, p99 ms | answer KB"
            " | PostgreSQL ms | queries | server ms |",
            "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|---:|",
        ]
        lines += [_row(one, titles) for one in measured if one.question == question]
        lines.append("")
    lines += [
        "First: each path asked for the first time, by one client; the load that follows asks the same paths again."
        " PostgreSQL ms and server ms: processor time per request. Queries: transactions per request, the"
        " server's start among them (the ORM's `BEGIN` and `ROLLBACK` are one).",
        "",
        *_ratios(measured),
        "",
        "What each does not do:",
        "",
        *(f"- {server.title}: {server.lacks}." for server in servers),
    ]
    return lines


def _row(one: Measured, titles: dict[str, str]) -> str:
    times = " | ".join(f"{seconds * 1000:,.1f}" for seconds in (one.p50_s, one.p99_s))
    first = ", ".join(f"{seconds * 1000:,.1f}" for seconds in (one.first_p50_s, one.first_p99_s))
    return (
        f"| {titles[one.server]} | {one.clients} | {one.requests:,} | {one.per_second:,.2f} | {times} | {first}"
        f" | {one.answer_bytes / 1000:,.1f} | {one.postgres_cpu_s * 1000:,.1f} | {one.transactions:,.1f}"
        f" | {one.server_cpu_s * 1000:,.1f} |"
    )


def _ratios(measured: Sequence[Measured]) -> Iterator[str]:
    by_key = {(one.question, one.clients, one.server): one for one in measured}
    for (question, clients, name), one in by_key.items():
        ours = by_key.get((question, clients, OURS))
        if ours is None or name == OURS:
            continue
        who = f"{question}, {clients} client{'s' if clients > 1 else ''}, against {name}"
        if question == BATCH:
            target = f" (target {TARGETS[name]:g})" if name in TARGETS else ""
            yield (
                f"- {who}: {ours.per_second / one.per_second:.1f} times the requests per second{target};"
                f" for the first time {one.first_p50_s / ours.first_p50_s:.1f} times as fast"
            )
        else:
            first = _compared(ours.first_p99_s, one.first_p99_s)
            yield f"- {who}: p99 {_compared(ours.p99_s, one.p99_s)}; for the first time {first}"


def _compared(ours: float, theirs: float) -> str:
    return f"{ours * 1000:.1f} against {theirs * 1000:.1f} ms, {'no worse' if ours <= theirs else 'worse'}"
