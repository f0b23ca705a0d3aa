"""dlt's sql_database source with its connectorx backend loads both tables into DuckDB; SQL there makes the exports."""

import os

import dlt
import duckdb
import psycopg2
import sqlalchemy
from dlt.sources.sql_database import sql_table

from bench.peers.command import NOT_READ, arguments, tell

DOMAIN_EXPORTS = """
CREATE TABLE domain_exports AS
SELECT d.* EXCLUDE (id), d.id AS domain_id, md5(lower(trim(d.domain))) AS computed_hash,
    coalesce(a.candidate_count, 0) AS gleif_candidate_count,
    coalesce(a.all_lei_codes, '') AS all_lei_codes, coalesce(a.all_legal_names, '') AS all_legal_names,
    coalesce(a.all_jurisdictions, '') AS all_jurisdictions, coalesce(a.all_entity_statuses, '') AS all_entity_statuses,
    coalesce(a.lei_codes, []) AS lei_codes
FROM source.domains AS d
LEFT JOIN (
    SELECT domain_id, count(*) AS candidate_count,
        string_agg(lei_code, '; ' ORDER BY rank_position NULLS LAST, id) AS all_lei_codes,
        string_agg(legal_name, '; ' ORDER BY rank_position NULLS LAST, id) AS all_legal_names,
        string_agg(coalesce(jurisdiction, ''), '; ' ORDER BY rank_position NULLS LAST, id) AS all_jurisdictions,
        string_agg(coalesce(entity_status, ''), '; ' ORDER BY rank_position NULLS LAST, id) AS all_entity_statuses,
        list(lei_code ORDER BY rank_position NULLS LAST, id) AS lei_codes
    FROM source.gleif_candidates
    GROUP BY domain_id
) AS a ON a.domain_id = d.id
"""
CANDIDATE_EXPORTS = """
CREATE TABLE candidate_exports AS
SELECT c.* EXCLUDE (id), c.id AS candidate_id, d.domain, d.batch_id, md5(lower(trim(d.domain))) AS domain_hash
FROM source.gleif_candidates AS c
JOIN source.domains AS d ON d.id = c.domain_id
"""


def main() -> None:
    """Load, then transform."""
    url, folder = arguments()
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    database = folder / "exports.duckdb"
    pipeline = dlt.pipeline(
        "bench",
        destination=dlt.destinations.duckdb(str(database)),
        dataset_name="source",
        pipelines_dir=str(folder / "dlt"),
    )
    engine = sqlalchemy.create_engine("postgresql+psycopg2://", creator=lambda: psycopg2.connect(url))
    resources = [
        sql_table(engine, table=table, backend="connectorx", backend_kwargs={"conn": url}, excluded_columns=[NOT_READ])
        for table in ("domains", "gleif_candidates")
    ]
    pipeline.run(resources, write_disposition="replace", loader_file_format="parquet")
    rows = {}
    with duckdb.connect(database) as connection:
        for name, statement in (("domain_exports", DOMAIN_EXPORTS), ("candidate_exports", CANDIDATE_EXPORTS)):
            connection.execute(statement)
            (rows[name],) = connection.execute(f"SELECT count(*) FROM {name}").fetchone()
    tell(rows)


if __name__ == "__main__":
    main()
