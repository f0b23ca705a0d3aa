WITH found AS (
    SELECT DISTINCT domain_id FROM gleif_candidates
)
SELECT d.batch_id, min(d.created_at)::date AS begun, count(*) AS result_count,
    round(100.0 * count(*) FILTER (WHERE d.status = 'success') / count(*), 1) AS success_pct,
    round(100.0 * count(f.domain_id) / count(*), 1) AS with_candidates_pct,
    count(*) FILTER (WHERE d.manual_review_required) AS manual_review_count,
    round(percentile_cont(0.95) WITHIN GROUP (ORDER BY d.processing_time_ms::float8)::numeric) AS p95_ms,
    count(*) FILTER (WHERE d.status IN ('pending', 'processing')) AS open_count
FROM domains AS d
LEFT JOIN found AS f ON f.domain_id = d.id
GROUP BY d.batch_id
ORDER BY min(d.created_at) NULLS LAST, d.batch_id COLLATE "C"
