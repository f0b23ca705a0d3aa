"""Fills a PostgreSQL with any number of domains and their candidates, the same for the same arguments.

40 % of the domains stand in two batches, a third as many LEIs as candidates, about 4.7 candidates a row. Names and
lengths are like real ones. Candidates lie in insertion order (the usual case) or in random physical order (the worst).
"""

import argparse
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
import psycopg
from numpy.typing import NDArray

from pipelines.contracts.source import SOURCE_TABLES

SEED = 20261123
BATCH_ROWS = 5000
IN_TWO_BATCHES = 0.4
CANDIDATES_PER_ROW = 4.714
SUCCESS_SHARE = 0.62
LEIS_PER_CANDIDATE = 1 / 3
CHUNK_ROWS = 200_000

_SQL_TYPES = {
    pl.Int64(): "integer",  # ids, which are int4 in the application
    pl.Int32(): "integer",
    pl.Float32(): "real",
    pl.String(): "text",
    pl.Boolean(): "boolean",
    pl.Datetime("us"): "timestamp",
}
_SYLLABLES = (
    "al an ar ba bel bo ca cor da del den do el en fa fer ga gen gra ha hol in ja ka kel la lan lo ma mar "
    "mer mi na nor o pa par pe por ra ren ri ro sa san se sol sta su ta tel ter to tri u va ver vi wa wes "
).split()
_ENDINGS = [
    "Inc.",
    "GmbH",
    "LLC",
    "Limited",
    "S.A.",
    "AG",
    "B.V.",
    "Holdings plc",
    "Corporation",
    "Fund",
    "S.p.A.",
    "AB",
]
_TLDS = ["com", "com", "com", "de", "org", "net", "co.uk", "fr", "io", "it"]
_JURISDICTIONS = ("US-DE US-DE US-CA US-NY DE GB FR NL LU IE JP CA-ON CH IT ES SE NO NA AU IN ").split()
_LOUS = ["5493", "2138", "9695", "3912", "5299", "8156", "2549", "7245", "6354", "9845"]
_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", dtype=np.uint8)
_REASON = "Strong name match, Fortune 500 indicators, Jurisdiction alignment, Complete entity profile"
Ints = NDArray[np.int64]


def lei_codes(count: int, rng: np.random.Generator) -> pl.Series:
    """Distinct codes with right check digits (ISO 7064 MOD 97-10)."""
    body = np.empty((count, 18), dtype=np.uint8)
    body[:, :4] = np.array([list(lou.encode()) for lou in _LOUS], dtype=np.uint8)[rng.integers(0, len(_LOUS), count)]
    body[:, 4:6] = ord("0")
    number = rng.permutation(count).astype(np.int64) * 97 + 11
    for position in range(17, 11, -1):
        body[:, position] = _ALPHABET[number % 36]
        number //= 36
    body[:, 6:12] = _ALPHABET[rng.integers(0, 36, (count, 6))]
    remainder = np.zeros(count, dtype=np.int64)
    for position in range(18):
        byte = body[:, position].astype(np.int64)
        is_digit = byte < ord("A")
        remainder = (remainder * np.where(is_digit, 10, 100) + np.where(is_digit, byte - 48, byte - 55)) % 97
    checks = 98 - remainder * 100 % 97
    whole = np.concatenate(
        [body, (48 + checks // 10)[:, None].astype(np.uint8), (48 + checks % 10)[:, None].astype(np.uint8)], axis=1
    )
    return pl.Series(whole.reshape(-1).view("S20").astype("U20"))


def names(numbers: Ints, words: int) -> pl.Series:
    """A name per number, made of syllables: the same number gives the same name."""
    table = np.array(_SYLLABLES)
    parts = numbers * 2_654_435_761 % 2**40
    text = pl.Series(np.repeat("", len(numbers)))
    for word in range(words):
        syllables = []
        for _ in range(3):
            syllables.append(pl.Series(table[parts % len(table)]))
            parts = parts // len(table) + numbers * 31 % 1_009
        joined = (syllables[0] + syllables[1] + syllables[2]).str.to_titlecase()
        text = joined if word == 0 else text + " " + joined
    return text


def _legal_names(leis: Ints) -> pl.Series:
    return names(leis, 3) + " " + pl.Series(np.array(_ENDINGS)[leis % len(_ENDINGS)])


class Population:
    """All rows as small arrays; columns are made a chunk at a time."""

    def __init__(self, rows: int) -> None:
        rng = np.random.default_rng(SEED)
        self.rng = rng
        unique = max(1, round(rows / (1 + IN_TWO_BATCHES)))
        self.domain_of = np.concatenate([np.arange(unique), rng.permutation(unique)])[:rows].astype(np.int64)
        self.is_success = rng.random(rows) < SUCCESS_SHARE
        mean = CANDIDATES_PER_ROW / SUCCESS_SHARE
        self.count_of = np.where(self.is_success, np.clip(rng.poisson(mean, rows), 0, 40), 0).astype(np.int64)
        self.row_of = np.repeat(np.arange(rows, dtype=np.int64), self.count_of)
        starts = np.cumsum(self.count_of) - self.count_of
        self.rank_of = np.arange(len(self.row_of)) - starts[self.row_of] + 1
        self.leis = max(50, round(len(self.row_of) * LEIS_PER_CANDIDATE))
        self.codes = lei_codes(self.leis, rng)
        # A domain's candidates are neighbours in the pool, so that a domain has each LEI once, and two batches differ.
        self.lei_of = self._lei(self.row_of, self.rank_of)

    def _lei(self, row: Ints, rank: Ints | int) -> Ints:
        return (self.domain_of[row] * 7919 + rank * 13 + row % 3) % self.leis

    @property
    def rows(self) -> int:
        """Rows of `domains`."""
        return len(self.domain_of)

    @property
    def candidates(self) -> int:
        """Rows of `gleif_candidates`."""
        return len(self.row_of)

    def domains(self, part: Ints) -> pl.DataFrame:
        """Columns of some rows of `domains`."""
        number = self.domain_of[part]
        name = names(number, 2)
        ending = pl.Series(np.array(_ENDINGS)[number % len(_ENDINGS)])
        tld = pl.Series(np.array(_TLDS)[number % len(_TLDS)])
        success = pl.Series(self.is_success[part])
        created = pl.Series(1_750_000_000_000_000 + part * 1_000_003).cast(pl.Datetime("us"))
        domain = name.str.replace_all(" ", "").str.to_lowercase() + pl.Series(number).cast(pl.String) + "." + tld
        company = name + " " + ending
        first = self._lei(part, 1)
        null = pl.lit(None, dtype=pl.String)
        has_candidates = pl.col("count") > 0
        return pl.DataFrame(
            {"id": part + 1, "domain": domain, "company": company, "success": success, "created_at": created,
             "batch": part // BATCH_ROWS, "number": number, "count": self.count_of[part],
             "lei": self.codes.gather(first), "lei_name": _legal_names(first)}
        ).select(
            "id", "domain",
            pl.when("success").then(pl.lit("success")).otherwise(pl.lit("failed")).alias("status"),
            pl.when("success").then("company").otherwise(null).alias("company_name"),
            pl.lit("domain_parse_cached").alias("extraction_method"),
            (pl.col("number") % 1000 / 10).cast(pl.Float32).alias("confidence_score"),
            pl.lit(0).alias("retry_count"),
            pl.when("success").then(null).otherwise(pl.lit("No name found: timeout after 10 s")).alias("error_message"),
            ("b" + (pl.col("batch") * 7_919 + 104_729).cast(pl.String).str.zfill(10) + "nZq_x-7Kd2").alias("batch_id"),
            "created_at", (pl.col("created_at") + pl.duration(milliseconds=281)).alias("processed_at"),
            (pl.col("number") % 9000 + 100).alias("processing_time_ms"),
            pl.col("success").alias("level2_attempted"),
            pl.when("success").then(pl.lit("success")).otherwise(null).alias("level2_status"),
            pl.col("count").alias("level2_candidates_count"),
            pl.when(has_candidates).then("lei").otherwise(null).alias("primary_lei_code"),
            pl.when(has_candidates).then("lei_name").otherwise(null).alias("primary_gleif_name"),
            pl.when(has_candidates).then(pl.lit("weighted_scoring")).otherwise(null).alias("selection_algorithm"),
            pl.when("success").then("company").otherwise(null).alias("final_legal_name"),
            (pl.col("number") % 100).alias("final_confidence"),
            (pl.col("number") % 4 == 0).alias("manual_review_required"),
            pl.when(has_candidates).then(pl.lit(_REASON)).otherwise(null).alias("selection_notes"),
        )  # fmt: skip

    def candidates_of(self, part: Ints) -> pl.DataFrame:
        """Columns of some rows of `gleif_candidates`."""
        lei = self.lei_of[part]
        rank = self.rank_of[part]
        row = self.row_of[part]
        pick = lambda values, by: pl.Series(np.array(values)[by % len(values)])  # noqa: E731
        score = ((lei * 37 + rank * 11) % 1000 / 10).astype(np.float32)
        return pl.DataFrame(
            {
                "id": part + 1,
                "domain_id": row + 1,
                "lei_code": self.codes.gather(lei),
                "legal_name": _legal_names(lei),
                "entity_status": pick(["ACTIVE"] * 9 + ["INACTIVE"], lei),
                "jurisdiction": pick(_JURISDICTIONS, lei),
                "legal_form": pick(["H1UM", "HZEH", "XTIQ", "2HBR", "8888"], lei),
                "entity_category": pick(["GENERAL"] * 8 + ["FUND", "BRANCH"], lei),
                "registration_status": pick(["ISSUED"] * 7 + ["LAPSED"] * 3, lei),
                "gleif_match_score": score,
                "weighted_score": 100 - rank.astype(np.float32) * np.float32(3.7),
                "rank_position": rank,
                "domain_tld_score": pick(np.array([10, 25, 30, 75, 85, 100], dtype=np.float32), lei),
                "fortune500_score": pick(np.array([25, 50, 75, 100], dtype=np.float32), lei),
                "name_match_score": score,
                "entity_complexity_score": pick(np.array([50, 75, 100], dtype=np.float32), lei),
                "match_method": pick(["exact", "fuzzy", "geographic"], lei),
                "selection_reason": np.repeat(_REASON, len(part)),
                "is_primary_selection": rank == 1,
                "created_at": pl.Series(1_750_000_000_281_000 + row * 1_000_003).cast(pl.Datetime("us")),
            }
        )


def chunks(order: Ints) -> Iterator[Ints]:
    """Row numbers, a chunk at a time."""
    for start in range(0, len(order), CHUNK_ROWS):
        yield order[start : start + CHUNK_ROWS]


def fill(url: str, rows: int, *, random_order: bool) -> tuple[int, int]:
    """Replace both tables; rows of each."""
    population = Population(rows)
    with psycopg.connect(url, autocommit=True) as connection:
        _create_tables(connection)
        order = np.arange(population.candidates)
        if random_order:
            order = population.rng.permutation(order)
        plan = [
            ("domains", np.arange(population.rows), population.domains),
            ("gleif_candidates", order, population.candidates_of),
        ]
        for name, numbers, make in plan:
            for part in chunks(numbers):
                frame = make(part)
                buffer = io.BytesIO()
                frame.write_csv(buffer, include_header=False, datetime_format="%Y-%m-%d %H:%M:%S%.6f")
                listed = ", ".join(f'"{column}"' for column in frame.columns)
                with connection.cursor().copy(f"COPY {name} ({listed}) FROM STDIN (FORMAT csv)") as copy:
                    copy.write(buffer.getbuffer())
        _finish(connection)
    return population.rows, population.candidates


def fill_narrow(url: str, rows: int) -> tuple[int, int]:
    """Replace both tables by rows of few columns, two candidates for each domain, in random order; rows of each."""
    with psycopg.connect(url, autocommit=True) as connection:
        _create_tables(connection)
        connection.execute("SET synchronous_commit = off")
        connection.execute(
            "INSERT INTO domains (id, domain, batch_id, status)"
            " SELECT n, n || '.example', 'batch ' || n / 10000, 'success' FROM generate_series(1, %s::int8) AS n",
            (rows,),
        )
        connection.execute(
            "INSERT INTO gleif_candidates (id, domain_id, lei_code, legal_name, rank_position, is_primary_selection)"
            " SELECT n, (n * 48271) %% %s + 1, lpad((n * 7919 %% 2000003)::text, 20, '0'), 'Name ' || n %% 2000003,"
            " n %% 3, n %% 2 = 0 FROM generate_series(1, %s::int8) AS n",
            (rows, 2 * rows),
        )
        _finish(connection)
    return rows, 2 * rows


def _create_tables(connection: psycopg.Connection[Any]) -> None:
    for table in SOURCE_TABLES:
        columns = ", ".join(f'"{n}" {_SQL_TYPES[c.dtype]}' for n, c in table.schema.columns().items())
        connection.execute(f"DROP TABLE IF EXISTS {table.name}")
        connection.execute(f"CREATE TABLE {table.name} ({columns})")


def _finish(connection: psycopg.Connection[Any]) -> None:
    for table in SOURCE_TABLES:
        connection.execute(f"ALTER TABLE {table.name} ADD PRIMARY KEY (id)")
    connection.execute("CREATE INDEX ON gleif_candidates (domain_id)")
    for table in SOURCE_TABLES:
        connection.execute(f"VACUUM (FREEZE, ANALYZE) {table.name}")
    connection.execute("CHECKPOINT")


def main() -> None:
    """Fill the database of an URL."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--domains", type=int, default=1_000_000)
    parser.add_argument("--random-order", action="store_true")
    options = parser.parse_args()
    rows, candidates = fill(options.url, options.domains, random_order=options.random_order)
    print(f"{rows:,} domains, {candidates:,} candidates")


if __name__ == "__main__":
    main()
