"""The peers: which script, in which environment, and what each does not do that an export run does."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Peer:
    """What a user would pick instead.

    Attributes:
        name: In results and folders.
        label: In tables; ≈ marks what is extrapolated from a sample.
        short: In the chart.
        environment: Lock in bench/peers that it is installed from.
        module: Script in bench/peers.
        does: Of GUARANTEES, those that it gives, each with yes, no or in part how.
        arguments: Further arguments of the script.
    """

    name: str
    label: str
    short: str
    environment: str
    module: str
    does: dict[str, str]
    arguments: tuple[str, ...] = ()


GUARANTEES = ("tables", "one instant of the database", "rejects", "sorted", "written", "verified", "switched at once")
OURS = dict.fromkeys(GUARANTEES, "yes") | {"tables": "all 7", "written": "Parquet and DuckDB"}
_NOTHING = dict.fromkeys(GUARANTEES, "no") | {"tables": "2"}
_ALL = {**_NOTHING, "one instant of the database": "yes", "written": "Parquet and DuckDB"}

PEERS = (
    Peer(
        "per_domain",
        "≈ one query per domain, as the application exports",
        "≈ a query per domain",
        "sqlalchemy",
        "per_domain",
        {**_NOTHING, "tables": "1 (domain_exports)", "sorted": "yes", "written": "CSV"},
    ),
    Peer(
        "joined_load",
        "≈ SQLAlchemy `joinedload`, as the application's note proposes",
        "≈ SQLAlchemy joinedload",
        "sqlalchemy",
        "joined_load",
        {**_NOTHING, "sorted": "within a file", "written": "Parquet"},
    ),
    Peer(
        "string_agg",
        "`string_agg` and COPY in PostgreSQL",
        "string_agg + COPY",
        "sqlalchemy",
        "string_agg",
        {**_NOTHING, "one instant of the database": "yes", "written": "CSV"},
    ),
    Peer(
        "adbc_polars",
        "ADBC and Polars",
        "ADBC + Polars",
        "adbc",
        "adbc_polars",
        {**_ALL, "sorted": "yes"},
    ),
    Peer(
        "dlt_connectorx",
        "dlt with its connectorx backend, SQL in DuckDB",
        "dlt + connectorx",
        "dlt",
        "dlt_connectorx",
        {**_NOTHING, "written": "DuckDB"},
    ),
    Peer(
        "duckdb_postgres",
        "DuckDB's postgres extension, a sorted `string_agg` a column",
        "DuckDB postgres",
        "duckdb",
        "duckdb_postgres",
        _ALL,
        ("duckdb_two_tables",),
    ),
    Peer(
        "duckdb_postgres_lists",
        "DuckDB's postgres extension, one sorted list of structs",
        "DuckDB postgres, tuned",
        "duckdb",
        "duckdb_postgres",
        _ALL,
        ("duckdb_two_tables_lists",),
    ),
    Peer(
        "duckdb_postgres_all",
        "DuckDB's postgres extension, all tables",
        "DuckDB postgres, 7 tables",
        "duckdb",
        "duckdb_postgres",
        {**_ALL, "tables": "all 7", "rejects": "yes", "sorted": "yes"},
        ("duckdb_all_tables",),
    ),
)


def what_each_does() -> list[str]:
    """A table of what each does and does not."""
    lines = [f"| what | {' | '.join(GUARANTEES)} |", f"|---|{'---|' * len(GUARANTEES)}"]
    rows = [("lei-exports", OURS), *((peer.label.removeprefix("≈ "), peer.does) for peer in PEERS)]
    return lines + [f"| {label} | {' | '.join(does[name] for name in GUARANTEES)} |" for label, does in rows]
