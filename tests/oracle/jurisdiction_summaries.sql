-- DESIGN 4.5: NULL counts under 'unknown' (beside the text 'unknown' itself), '' stays ''.
SELECT
    c.jurisdiction_or_unknown AS jurisdiction,
    count(*) AS candidate_count,
    count(DISTINCT c.lei_code) AS distinct_lei_count,
    count(DISTINCT c.computed_hash) AS domain_count,
    count(*) FILTER (WHERE c.is_primary_selection) AS primary_count,
    count(*) FILTER (WHERE c.entity_status = 'ACTIVE') AS active_count
FROM (
    SELECT v.*, coalesce(v.jurisdiction, 'unknown') AS jurisdiction_or_unknown
    FROM valid_candidates AS v
) AS c
GROUP BY c.jurisdiction_or_unknown
ORDER BY c.jurisdiction_or_unknown ASC
