WITH found AS (
    SELECT lower(btrim(d.domain)) COLLATE "C" AS domain, d.batch_id, d.primary_lei_code, c.lei_code
    FROM gleif_candidates AS c
    JOIN domains AS d ON d.id = c.domain_id
), of_domain AS (
    SELECT domain, count(DISTINCT batch_id) AS batch_count,
        coalesce(
            array_agg(DISTINCT primary_lei_code ORDER BY primary_lei_code) FILTER (WHERE primary_lei_code <> ''), '{}'
        ) AS primary_lei_codes
    FROM found
    GROUP BY domain
    HAVING count(DISTINCT batch_id) > 1
), of_lei AS (
    SELECT domain, lei_code, count(DISTINCT batch_id) AS batch_count
    FROM found
    GROUP BY domain, lei_code
)
SELECT t.domain, t.batch_count, count(*) AS distinct_lei_count,
    count(*) FILTER (WHERE o.batch_count = t.batch_count) AS shared_lei_count, t.primary_lei_codes
FROM of_domain AS t
JOIN of_lei AS o ON o.domain = t.domain
GROUP BY t.domain, t.batch_count, t.primary_lei_codes
HAVING count(*) FILTER (WHERE o.batch_count = t.batch_count) < count(*)
ORDER BY cardinality(t.primary_lei_codes) DESC,
    count(*) FILTER (WHERE o.batch_count < t.batch_count) DESC, t.domain
