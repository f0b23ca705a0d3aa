-- DESIGN 4.2
SELECT
    c.id AS candidate_id,
    c.domain_id,
    c.computed_hash AS domain_hash,
    c.domain,
    c.batch_id,
    c.lei_code,
    c.legal_name,
    c.entity_status,
    c.jurisdiction,
    c.legal_form,
    c.entity_category,
    c.registration_status,
    c.gleif_match_score,
    c.weighted_score,
    c.rank_position,
    c.domain_tld_score,
    c.fortune500_score,
    c.name_match_score,
    c.entity_complexity_score,
    c.match_method,
    c.selection_reason,
    c.is_primary_selection,
    /*full_data c.gleif_full_data, */
    c.created_at,
    v.is_valid_lei
FROM valid_candidates AS c
INNER JOIN lei_validity AS v ON v.lei_code = c.lei_code
ORDER BY c.domain_id ASC, c.rank_position ASC NULLS LAST, c.id ASC
