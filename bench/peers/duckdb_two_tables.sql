-- domain_exports and candidate_exports, from DuckDB's copies of both source tables.
CREATE TABLE candidate_exports AS
SELECT c.* EXCLUDE (id), c.id AS candidate_id, d.domain, d.batch_id, md5(lower(trim(d.domain))) AS domain_hash
FROM gleif_candidates AS c
JOIN domains AS d ON d.id = c.domain_id;

CREATE TABLE domain_exports AS
SELECT d.* EXCLUDE (id), d.id AS domain_id, md5(lower(trim(d.domain))) AS domain_hash,
    coalesce(a.candidate_count, 0) AS gleif_candidate_count,
    coalesce(a.all_lei_codes, '') AS all_lei_codes, coalesce(a.all_legal_names, '') AS all_legal_names,
    coalesce(a.all_jurisdictions, '') AS all_jurisdictions, coalesce(a.all_entity_statuses, '') AS all_entity_statuses,
    coalesce(a.lei_codes, []) AS lei_codes
FROM domains AS d
LEFT JOIN (
    SELECT domain_id, count(*) AS candidate_count,
        string_agg(lei_code, '; ' ORDER BY rank_position NULLS LAST, id) AS all_lei_codes,
        string_agg(legal_name, '; ' ORDER BY rank_position NULLS LAST, id) AS all_legal_names,
        string_agg(coalesce(jurisdiction, ''), '; ' ORDER BY rank_position NULLS LAST, id) AS all_jurisdictions,
        string_agg(coalesce(entity_status, ''), '; ' ORDER BY rank_position NULLS LAST, id) AS all_entity_statuses,
        list(lei_code ORDER BY rank_position NULLS LAST, id) AS lei_codes
    FROM gleif_candidates
    GROUP BY domain_id
) AS a ON a.domain_id = d.id;
