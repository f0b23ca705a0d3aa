SELECT d.domain, d.batch_id, d.primary_lei_code, c.legal_name, c.registration_status, c.entity_status,
    c.lei_code IS NOT NULL AS is_candidate
FROM domains AS d
LEFT JOIN gleif_candidates AS c ON c.domain_id = d.id AND c.lei_code = d.primary_lei_code
WHERE d.primary_lei_code <> '' AND c.registration_status IS DISTINCT FROM 'ISSUED'
ORDER BY coalesce(c.registration_status = 'LAPSED', false) DESC, c.registration_status COLLATE "C" NULLS LAST, d.id
LIMIT 20
