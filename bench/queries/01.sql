SELECT d.domain, d.batch_id, c.rank_position, c.weighted_score, c.is_primary_selection
FROM gleif_candidates AS c
JOIN domains AS d ON d.id = c.domain_id
WHERE c.lei_code = '54930043XZGB27CTOV49'
ORDER BY d.domain COLLATE "C", d.id
