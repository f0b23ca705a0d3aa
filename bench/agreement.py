"""Whether what a peer wrote is what we publish: the joined texts of domain_exports, row by row."""

from pathlib import Path

import duckdb

_TEXTS = ("all_lei_codes", "all_legal_names", "all_jurisdictions", "all_entity_statuses")


def differing_rows(folder: Path, exports: Path) -> int:
    """Rows of a peer's domain_exports (CSV, Parquet or in a DuckDB file) that ours has not, by id, count and texts.

    Raises:
        FileNotFoundError: The peer wrote no domain_exports.
    """
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{exports / 'current' / 'exports.duckdb'}' AS ours (READ_ONLY)")
        if (folder / "exports.duckdb").exists():
            connection.execute(f"ATTACH '{folder / 'exports.duckdb'}' AS theirs (READ_ONLY)")
            source = "theirs.main.domain_exports"
            if not connection.execute(
                "SELECT 1 FROM duckdb_tables() WHERE database_name = 'theirs' AND schema_name = 'main'"
                " AND table_name = 'domain_exports'"
            ).fetchone():
                raise FileNotFoundError(f"no domain_exports in {folder.name}")
        elif list(folder.glob("domain_exports*.parquet")):
            source = f"read_parquet('{folder}/domain_exports*.parquet')"
        elif (folder / "domain_exports.csv").exists():
            source = f"read_csv('{folder}/domain_exports.csv', all_varchar = true, nullstr = '\\N')"
        else:
            raise FileNotFoundError(f"no domain_exports in {folder.name}")
        same = " AND ".join(f"t.{name} = o.{name}" for name in _TEXTS)
        query = (
            f"SELECT count(*) FROM {source} AS t LEFT JOIN ours.domain_exports AS o"
            " ON o.domain_id = CAST(t.domain_id AS BIGINT)"
            f" WHERE (CAST(t.gleif_candidate_count AS BIGINT) = o.gleif_candidate_count AND {same}) IS NOT TRUE"
        )
        found = connection.execute(query).fetchone()
        return int(found[0]) if found else 0
