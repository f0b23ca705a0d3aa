-- DESIGN 4.4
SELECT
    e.lei_code,
    l.legal_name,
    l.jurisdiction,
    l.entity_status,
    l.registration_status,
    l.legal_form,
    l.entity_category,
    v.is_valid_lei,
    e.candidate_count,
    e.domain_count,
    e.batch_count,
    e.primary_count,
    e.best_rank,
    e.domains,
    e.first_seen_at,
    e.last_seen_at
FROM (
    SELECT
        c.lei_code,
        count(*) AS candidate_count,
        count(DISTINCT c.computed_hash) AS domain_count,
        count(DISTINCT c.batch_id) AS batch_count,
        count(*) FILTER (WHERE c.is_primary_selection) AS primary_count,
        min(c.rank_position) AS best_rank,
        array_agg(DISTINCT c.normalized_domain ORDER BY c.normalized_domain) AS domains,
        min(c.created_at) AS first_seen_at,
        max(c.created_at) AS last_seen_at
    FROM valid_candidates AS c
    GROUP BY c.lei_code
) AS e
INNER JOIN (
    SELECT DISTINCT ON (c.lei_code) c.*
    FROM valid_candidates AS c
    ORDER BY c.lei_code ASC, c.created_at DESC NULLS LAST, c.id DESC
) AS l ON l.lei_code = e.lei_code
INNER JOIN lei_validity AS v ON v.lei_code = e.lei_code
ORDER BY e.lei_code ASC
