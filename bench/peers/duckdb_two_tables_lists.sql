-- The same two tables by who knows that one sorted list of structs is several times as fast as five sorted aggregates.
CREATE TABLE candidate_exports AS
SELECT c.* EXCLUDE (id), c.id AS candidate_id, d.domain, d.batch_id, md5(lower(trim(d.domain))) AS domain_hash
FROM gleif_candidates AS c
JOIN domains AS d ON d.id = c.domain_id;

CREATE TABLE domain_exports AS
SELECT d.* EXCLUDE (id), d.id AS domain_id, md5(lower(trim(d.domain))) AS domain_hash,
    coalesce(len(found), 0) AS gleif_candidate_count,
    coalesce(array_to_string([c.lei_code FOR c IN found], '; '), '') AS all_lei_codes,
    coalesce(array_to_string([c.legal_name FOR c IN found], '; '), '') AS all_legal_names,
    coalesce(array_to_string([coalesce(c.jurisdiction, '') FOR c IN found], '; '), '') AS all_jurisdictions,
    coalesce(array_to_string([coalesce(c.entity_status, '') FOR c IN found], '; '), '') AS all_entity_statuses,
    coalesce([c.lei_code FOR c IN found], []) AS lei_codes
FROM domains AS d
LEFT JOIN (
    SELECT domain_id,
        list(
            {lei_code: lei_code, legal_name: legal_name, jurisdiction: jurisdiction, entity_status: entity_status}
            ORDER BY rank_position NULLS LAST, id
        ) AS found
    FROM gleif_candidates
    GROUP BY domain_id
) AS a ON a.domain_id = d.id;
