SELECT c.jurisdiction, count(DISTINCT lower(btrim(d.domain))) AS domains, count(DISTINCT c.lei_code) AS leis,
    count(*) FILTER (WHERE c.is_primary_selection) AS chosen
FROM domains AS d
JOIN gleif_candidates AS c ON c.domain_id = d.id
WHERE d.batch_id = 'hQ2vYc8JrEo5uXfZ1nGtA'
GROUP BY c.jurisdiction
ORDER BY domains DESC, c.jurisdiction COLLATE "C" NULLS LAST
