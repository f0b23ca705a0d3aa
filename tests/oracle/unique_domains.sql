-- DESIGN 4.3
SELECT
    u.domain_hash,
    u.domain,
    u.result_count,
    u.batch_count,
    u.success_count,
    u.failed_count,
    b.id AS best_domain_id,
    b.batch_id AS best_batch_id,
    b.status,
    b.company_name,
    b.confidence_score,
    b.guessed_country,
    b.primary_lei_code,
    b.primary_gleif_name,
    b.final_legal_name,
    b.final_confidence,
    u.first_created_at,
    u.last_processed_at,
    coalesce(a.distinct_lei_count, 0) AS distinct_lei_count,
    coalesce(a.all_lei_codes, '') AS all_lei_codes,
    coalesce(a.all_legal_names, '') AS all_legal_names,
    coalesce(a.all_jurisdictions, '') AS all_jurisdictions,
    coalesce(a.all_entity_statuses, '') AS all_entity_statuses,
    coalesce(a.lei_codes, ARRAY[]::text[]) AS lei_codes
FROM (
    SELECT
        d.computed_hash AS domain_hash,
        min(d.normalized_domain) AS domain,
        count(*) AS result_count,
        count(DISTINCT d.batch_id) AS batch_count,
        count(*) FILTER (WHERE d.status = 'success') AS success_count,
        count(*) FILTER (WHERE d.status = 'failed') AS failed_count,
        min(d.created_at) AS first_created_at,
        max(d.processed_at) AS last_processed_at
    FROM valid_domains AS d
    GROUP BY d.computed_hash
) AS u
INNER JOIN (
    SELECT DISTINCT ON (d.computed_hash) d.*
    FROM valid_domains AS d
    ORDER BY
        d.computed_hash ASC,
        (d.status = 'success') DESC,
        coalesce(d.final_confidence::float8, d.confidence_score::float8) DESC NULLS LAST,
        d.processed_at DESC NULLS LAST,
        d.id DESC
) AS b ON b.computed_hash = u.domain_hash
LEFT JOIN (
    SELECT
        l.computed_hash,
        count(*) AS distinct_lei_count,
        string_agg(l.lei_code, '; ' ORDER BY l.best_rank ASC NULLS LAST, l.row_count DESC, l.lei_code ASC)
            AS all_lei_codes,
        string_agg(l.legal_name, '; ' ORDER BY l.best_rank ASC NULLS LAST, l.row_count DESC, l.lei_code ASC)
            AS all_legal_names,
        string_agg(
            coalesce(l.jurisdiction, ''), '; ' ORDER BY l.best_rank ASC NULLS LAST, l.row_count DESC, l.lei_code ASC
        ) AS all_jurisdictions,
        string_agg(
            coalesce(l.entity_status, ''), '; ' ORDER BY l.best_rank ASC NULLS LAST, l.row_count DESC, l.lei_code ASC
        ) AS all_entity_statuses,
        array_agg(l.lei_code ORDER BY l.best_rank ASC NULLS LAST, l.row_count DESC, l.lei_code ASC) AS lei_codes
    FROM (
        SELECT
            c.computed_hash,
            c.lei_code,
            min(c.rank_position) AS best_rank,
            count(*) AS row_count,
            (array_agg(c.legal_name ORDER BY c.created_at DESC NULLS LAST, c.id DESC))[1] AS legal_name,
            (array_agg(c.jurisdiction ORDER BY c.created_at DESC NULLS LAST, c.id DESC))[1] AS jurisdiction,
            (array_agg(c.entity_status ORDER BY c.created_at DESC NULLS LAST, c.id DESC))[1] AS entity_status
        FROM valid_candidates AS c
        GROUP BY c.computed_hash, c.lei_code
    ) AS l
    GROUP BY l.computed_hash
) AS a ON a.computed_hash = u.domain_hash
ORDER BY u.domain_hash ASC
