WITH white_space (chars) AS (
    SELECT E'\u0009\u000A\u000B\u000C\u000D\u0020\u00A0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006'
        || E'\u2007\u2008\u2009\u200A\u2028\u2029\u202F\u205F\u3000\uFEFF'
), judged_domains AS (
    SELECT d.id,
        CASE
            WHEN coalesce(btrim(d.domain, w.chars), '') = '' THEN 'missing_domain'
            WHEN coalesce(btrim(d.batch_id, w.chars), '') = '' THEN 'missing_batch_id'
            WHEN coalesce(btrim(d.status, w.chars), '') = '' THEN 'missing_status'
        END AS reason
    FROM domains AS d
    CROSS JOIN white_space AS w
), judged_candidates AS (
    SELECT c.id, c.domain_id, c.lei_code, c.rank_position,
        CASE
            WHEN coalesce(btrim(c.lei_code, w.chars), '') = '' THEN 'missing_lei_code'
            WHEN coalesce(btrim(c.legal_name, w.chars), '') = '' THEN 'missing_legal_name'
            WHEN d.id IS NULL OR d.reason IS NOT NULL THEN 'orphan_candidate'
        END AS reason
    FROM gleif_candidates AS c
    CROSS JOIN white_space AS w
    LEFT JOIN judged_domains AS d ON d.id = c.domain_id
), repeated AS (
    SELECT id, row_number() OVER (PARTITION BY domain_id, lei_code ORDER BY rank_position NULLS LAST, id) AS place
    FROM judged_candidates
    WHERE reason IS NULL
), rejected AS (
    SELECT 'domains' AS source_table, reason, id FROM judged_domains WHERE reason IS NOT NULL
    UNION ALL
    SELECT 'gleif_candidates', reason, id FROM judged_candidates WHERE reason IS NOT NULL
    UNION ALL
    SELECT 'gleif_candidates', 'duplicate_candidate', id FROM repeated WHERE place > 1
)
SELECT source_table, reason, count(*) AS row_count, (array_agg(id ORDER BY id))[1:5] AS first_ids
FROM rejected
GROUP BY source_table, reason
ORDER BY row_count DESC, source_table COLLATE "C", reason COLLATE "C"
