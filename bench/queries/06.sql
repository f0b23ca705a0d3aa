SELECT d.primary_lei_code, max(coalesce(c.legal_name, d.primary_gleif_name)) AS legal_name,
    count(DISTINCT lower(btrim(d.domain))) AS domain_count,
    (array_agg(DISTINCT d.domain COLLATE "C" ORDER BY d.domain COLLATE "C"))[1:5] AS some_domains
FROM domains AS d
LEFT JOIN gleif_candidates AS c ON c.domain_id = d.id AND c.lei_code = d.primary_lei_code
WHERE d.primary_lei_code <> ''
GROUP BY d.primary_lei_code
ORDER BY domain_count DESC, d.primary_lei_code COLLATE "C"
LIMIT 10
