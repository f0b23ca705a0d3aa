-- DESIGN 4.6. The marked comments stand for the known columns in order, times as ISO 8601 text (see oracle/query.py).
SELECT r.source_table, r.source_id, r.domain_id, r.reason, r.detail, r.row_json
FROM (
    SELECT
        'domains' COLLATE "C" AS source_table,
        d.id AS source_id,
        d.id AS domain_id,
        d.reason,
        CASE d.reason
            WHEN 'missing_domain' THEN CASE WHEN d.domain IS NULL THEN 'domain is NULL' ELSE 'domain is blank' END
            WHEN 'missing_batch_id' THEN CASE WHEN d.batch_id IS NULL THEN 'batch_id is NULL' ELSE 'batch_id is blank' END
            WHEN 'missing_status' THEN CASE WHEN d.status IS NULL THEN 'status is NULL' ELSE 'status is blank' END
        END AS detail,
        (SELECT row_to_json(j)::text FROM (SELECT /*json_columns domains d*/) AS j) AS row_json
    FROM judged_domains AS d
    WHERE d.reason IS NOT NULL
    UNION ALL
    SELECT
        'gleif_candidates' COLLATE "C" AS source_table,
        c.id AS source_id,
        c.domain_id,
        c.reason,
        CASE
            WHEN c.reason = 'missing_lei_code'
                THEN CASE WHEN c.lei_code IS NULL THEN 'lei_code is NULL' ELSE 'lei_code is blank' END
            WHEN c.reason = 'missing_legal_name'
                THEN CASE WHEN c.legal_name IS NULL THEN 'legal_name is NULL' ELSE 'legal_name is blank' END
            WHEN c.domain_id IS NULL THEN 'domain_id is NULL'
            WHEN NOT c.has_domain_row THEN 'no row ' || c.domain_id || ' in domains'
            ELSE 'row ' || c.domain_id || ' of domains is rejected'
        END AS detail,
        (SELECT row_to_json(j)::text FROM (SELECT /*json_columns gleif_candidates c*/) AS j) AS row_json
    FROM judged_candidates AS c
    WHERE c.reason IS NOT NULL
    UNION ALL
    SELECT
        'gleif_candidates' COLLATE "C" AS source_table,
        c.id AS source_id,
        c.domain_id,
        'duplicate_candidate' AS reason,
        'same lei_code as candidate ' || c.kept_id || ', which is first in rank order' AS detail,
        (SELECT row_to_json(j)::text FROM (SELECT /*json_columns gleif_candidates c*/) AS j) AS row_json
    FROM placed_candidates AS c
    WHERE c.place > 1
) AS r
ORDER BY r.domain_id ASC NULLS LAST, r.source_table ASC, r.source_id ASC
