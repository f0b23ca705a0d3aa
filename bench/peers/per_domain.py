"""One query per domain, as the application exports: candidates asked for a row at a time, joined in Python, CSV."""

import csv
import time

import psycopg
from psycopg.rows import dict_row

from bench.peers.command import JOINED, arguments, tell

SAMPLE = 2000


def main() -> None:
    """Export a sample of rows that lie evenly over the table."""
    url, folder = arguments()
    with psycopg.connect(url, row_factory=dict_row) as connection:
        count = connection.execute("SELECT count(*) AS n FROM domains").fetchone()["n"]
        every = max(1, count // SAMPLE)
        domains = connection.execute(
            "SELECT *, md5(lower(btrim(domain))) AS domain_hash FROM domains WHERE id %% %s = 0 ORDER BY id", (every,)
        ).fetchall()
        started = time.monotonic()
        with (folder / "domain_exports.csv").open("w", newline="", encoding="utf-8") as file:
            names = ["domain_id", *(name for name in domains[0] if name != "id"), "gleif_candidate_count", *JOINED]
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for domain in domains:
                candidates = connection.execute(
                    "SELECT * FROM gleif_candidates WHERE domain_id = %s ORDER BY rank_position, id", (domain["id"],)
                ).fetchall()
                domain["domain_id"] = domain.pop("id")
                domain["gleif_candidate_count"] = len(candidates)
                for name, column in JOINED.items():
                    domain[name] = "; ".join(candidate[column] or "" for candidate in candidates)
                writer.writerow(domain)
        tell({"domain_exports": len(domains)}, share=len(domains) / count, sampled_s=time.monotonic() - started)


if __name__ == "__main__":
    main()
