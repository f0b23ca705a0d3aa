"""ADBC reads both tables over one connection into Polars, which groups, joins and writes Parquet; DuckDB loads that."""

from pathlib import Path

import adbc_driver_postgresql.dbapi
import duckdb
import polars as pl

from bench.peers.command import JOINED, NOT_READ, arguments, tell


def read(url: str) -> dict[str, pl.DataFrame]:
    """Both tables, of one snapshot of the database."""
    frames = {}
    with adbc_driver_postgresql.dbapi.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for table in ("domains", "gleif_candidates"):
            cursor.execute(
                "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid ="
                f" '{table}'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> '{NOT_READ}'"
            )
            (columns,) = cursor.fetchone()
            hashed = ", md5(lower(btrim(domain))) AS computed_hash" if table == "domains" else ""
            frames[table] = pl.read_database(f"SELECT {columns}{hashed} FROM {table}", connection)
        connection.rollback()
    return frames


def build(domains: pl.DataFrame, candidates: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """Both export tables."""
    candidates = candidates.sort("domain_id", "rank_position", "id", nulls_last=True)
    grouped = candidates.group_by("domain_id", maintain_order=True).agg(
        pl.len().alias("gleif_candidate_count"),
        *(pl.col(column).fill_null("").str.join("; ").alias(name) for name, column in JOINED.items()),
        pl.col("lei_code").alias("lei_codes"),
    )
    exports = (
        domains.rename({"id": "domain_id"})
        .join(grouped, on="domain_id", how="left", maintain_order="left")
        .with_columns(pl.col("gleif_candidate_count").fill_null(0), pl.col(*JOINED).fill_null(""))
        .sort("domain_id")
    )
    of_domain = domains.select(pl.col("id").alias("domain_id"), "domain", "batch_id", "computed_hash")
    rows = candidates.rename({"id": "candidate_id"}).join(of_domain, on="domain_id", maintain_order="left")
    return {"domain_exports": exports, "candidate_exports": rows}


def store(tables: dict[str, pl.DataFrame], folder: Path) -> None:
    """Parquet, and a DuckDB file of it."""
    with duckdb.connect(folder / "exports.duckdb") as connection:
        for name, frame in tables.items():
            frame.write_parquet(folder / f"{name}.parquet")
            connection.execute(f"CREATE TABLE {name} AS FROM read_parquet('{folder}/{name}.parquet')")


def main() -> None:
    """Read, build, write."""
    url, folder = arguments()
    tables = build(**{name.removeprefix("gleif_"): frame for name, frame in read(url).items()})
    store(tables, folder)
    tell({name: frame.height for name, frame in tables.items()})


if __name__ == "__main__":
    main()
