-- DESIGN 4.5
SELECT
    b.batch_id,
    b.result_count,
    b.unique_domain_count,
    b.success_count,
    b.failed_count,
    b.pending_count,
    b.processing_count,
    b.other_count,
    100 * b.success_count::float8 / b.result_count AS success_pct,
    b.with_candidates_count,
    100 * b.with_candidates_count::float8 / b.result_count AS with_candidates_pct,
    coalesce(a.candidate_count, 0) AS candidate_count,
    coalesce(a.distinct_lei_count, 0) AS distinct_lei_count,
    b.with_primary_count,
    b.manual_review_count,
    b.confidence_score_avg,
    b.confidence_score_median,
    b.processing_time_ms_avg,
    b.processing_time_ms_p95,
    b.first_created_at,
    b.last_processed_at
FROM (
    SELECT
        d.batch_id,
        count(*) AS result_count,
        count(DISTINCT d.computed_hash) AS unique_domain_count,
        count(*) FILTER (WHERE d.status = 'success') AS success_count,
        count(*) FILTER (WHERE d.status = 'failed') AS failed_count,
        count(*) FILTER (WHERE d.status = 'pending') AS pending_count,
        count(*) FILTER (WHERE d.status = 'processing') AS processing_count,
        count(*) FILTER (WHERE d.status NOT IN ('success', 'failed', 'pending', 'processing')) AS other_count,
        count(*) FILTER (
            WHERE d.id IN (SELECT c.domain_id FROM valid_candidates AS c)
        ) AS with_candidates_count,
        count(*) FILTER (WHERE btrim(d.primary_lei_code, w.chars) <> '') AS with_primary_count,
        count(*) FILTER (WHERE d.manual_review_required) AS manual_review_count,
        avg(d.confidence_score::float8) AS confidence_score_avg,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY d.confidence_score::float8) AS confidence_score_median,
        avg(d.processing_time_ms::float8) AS processing_time_ms_avg,
        percentile_cont(0.95) WITHIN GROUP (ORDER BY d.processing_time_ms::float8) AS processing_time_ms_p95,
        min(d.created_at) AS first_created_at,
        max(d.processed_at) AS last_processed_at
    FROM valid_domains AS d
    CROSS JOIN white_space AS w
    GROUP BY d.batch_id
) AS b
LEFT JOIN (
    SELECT
        c.batch_id,
        count(*) AS candidate_count,
        count(DISTINCT c.lei_code) AS distinct_lei_count
    FROM valid_candidates AS c
    GROUP BY c.batch_id
) AS a ON a.batch_id = b.batch_id
ORDER BY b.batch_id ASC
