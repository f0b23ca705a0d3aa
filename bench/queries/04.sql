WITH ranked AS (
    SELECT domain_id, legal_name, weighted_score,
        row_number() OVER (PARTITION BY domain_id ORDER BY rank_position NULLS LAST, id) AS place
    FROM gleif_candidates
), pairs AS (
    SELECT domain_id,
        max(legal_name) FILTER (WHERE place = 1) AS first_legal_name,
        max(legal_name) FILTER (WHERE place = 2) AS second_legal_name,
        round(
            abs(
                max(weighted_score) FILTER (WHERE place = 1)::float8
                - max(weighted_score) FILTER (WHERE place = 2)::float8
            )::numeric, 3
        )::float8 AS score_gap
    FROM ranked
    WHERE place <= 2
    GROUP BY domain_id
)
SELECT d.domain, d.batch_id, d.manual_review_required, p.score_gap, p.first_legal_name, p.second_legal_name,
    d.selection_notes
FROM domains AS d
LEFT JOIN pairs AS p ON p.domain_id = d.id
WHERE d.manual_review_required OR p.score_gap < 5
ORDER BY d.manual_review_required DESC NULLS LAST, p.score_gap NULLS LAST, d.id
LIMIT 20
