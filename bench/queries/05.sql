SELECT d.id AS domain_id, d.domain, d.batch_id, d.company_name, d.level2_attempted, d.level2_status,
    d.level2_candidates_count
FROM domains AS d
WHERE d.status = 'success' AND NOT EXISTS (SELECT FROM gleif_candidates AS c WHERE c.domain_id = d.id)
ORDER BY d.id
