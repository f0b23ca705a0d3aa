"""string_agg over the join in PostgreSQL, and COPY of the result as CSV, both tables in one transaction."""

import psycopg

from bench.peers.command import NOT_READ, arguments, tell

DOMAIN_EXPORTS = """
SELECT {columns}, md5(lower(btrim(d.domain))) AS computed_hash,
    coalesce(a.candidate_count, 0) AS gleif_candidate_count,
    coalesce(a.all_lei_codes, '') AS all_lei_codes, coalesce(a.all_legal_names, '') AS all_legal_names,
    coalesce(a.all_jurisdictions, '') AS all_jurisdictions, coalesce(a.all_entity_statuses, '') AS all_entity_statuses
FROM domains AS d
LEFT JOIN (
    SELECT domain_id, count(*) AS candidate_count,
        string_agg(lei_code, '; ' ORDER BY rank_position, id) AS all_lei_codes,
        string_agg(legal_name, '; ' ORDER BY rank_position, id) AS all_legal_names,
        string_agg(coalesce(jurisdiction, ''), '; ' ORDER BY rank_position, id) AS all_jurisdictions,
        string_agg(coalesce(entity_status, ''), '; ' ORDER BY rank_position, id) AS all_entity_statuses
    FROM gleif_candidates
    GROUP BY domain_id
) AS a ON a.domain_id = d.id
"""
CANDIDATE_EXPORTS = """
SELECT {columns}, d.domain, d.batch_id, md5(lower(btrim(d.domain))) AS domain_hash
FROM gleif_candidates AS c
JOIN domains AS d ON d.id = c.domain_id
"""


def main() -> None:
    """Copy both queries into files."""
    url, folder = arguments()
    rows = {}
    with psycopg.connect(url) as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        for name, table, alias, query in (
            ("domain_exports", "domains", "d", DOMAIN_EXPORTS),
            ("candidate_exports", "gleif_candidates", "c", CANDIDATE_EXPORTS),
        ):
            found = connection.execute(
                "SELECT attname FROM pg_attribute WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped"
                " AND attname <> %s ORDER BY attnum",
                (table, NOT_READ),
            ).fetchall()
            columns = ", ".join(
                f'{alias}."{column}"' + (f" AS {table.removeprefix('gleif_')[:-1]}_id" if column == "id" else "")
                for (column,) in found
            )
            with (folder / f"{name}.csv").open("wb") as file, connection.cursor() as cursor:
                statement = f"COPY ({query.format(columns=columns)}) TO STDOUT (FORMAT csv, HEADER)"
                with cursor.copy(statement.encode()) as copy:
                    for part in copy:
                        file.write(part)
                rows[name] = cursor.rowcount
    tell(rows)


if __name__ == "__main__":
    main()
