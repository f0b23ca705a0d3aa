-- What every table of the oracle starts from (DESIGN 4, 4.2 and 4.6). Follows, in the same WITH, the generated
-- domain_source and candidate_source: the source tables with every known column typed, absent ones NULL, values that are
-- not finite NULL, and all texts in byte order (COLLATE "C").
white_space (chars) AS (
    -- JavaScript's trim set: not U+0085, not U+180E, not U+200B, not U+001C to U+001F.
    SELECT E'\u0009\u000A\u000B\u000C\u000D\u0020\u00A0\u1680'
        || E'\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200A'
        || E'\u2028\u2029\u202F\u205F\u3000\uFEFF'
),
judged_domains AS (
    SELECT
        s.*,
        lower(btrim(s.domain, w.chars) COLLATE pg_unicode_fast) COLLATE "C" AS normalized_domain,
        CASE
            WHEN s.domain IS NULL OR btrim(s.domain, w.chars) = '' THEN 'missing_domain'
            WHEN s.batch_id IS NULL OR btrim(s.batch_id, w.chars) = '' THEN 'missing_batch_id'
            WHEN s.status IS NULL OR btrim(s.status, w.chars) = '' THEN 'missing_status'
        END AS reason
    FROM domain_source AS s
    CROSS JOIN white_space AS w
),
valid_domains AS (
    SELECT d.*, md5(d.normalized_domain) COLLATE "C" AS computed_hash
    FROM judged_domains AS d
    WHERE d.reason IS NULL
),
judged_candidates AS (
    SELECT
        s.*,
        d.id IS NOT NULL AS has_domain_row,
        CASE
            WHEN s.lei_code IS NULL OR btrim(s.lei_code, w.chars) = '' THEN 'missing_lei_code'
            WHEN s.legal_name IS NULL OR btrim(s.legal_name, w.chars) = '' THEN 'missing_legal_name'
            WHEN d.id IS NULL OR d.reason IS NOT NULL THEN 'orphan_candidate'
        END AS reason
    FROM candidate_source AS s
    CROSS JOIN white_space AS w
    LEFT JOIN judged_domains AS d ON d.id = s.domain_id
),
-- Duplicates are judged among the rows that no earlier reason rejects.
placed_candidates AS (
    SELECT
        c.*,
        row_number() OVER same_lei AS place,
        first_value(c.id) OVER same_lei AS kept_id
    FROM judged_candidates AS c
    WHERE c.reason IS NULL
    WINDOW same_lei AS (PARTITION BY c.domain_id, c.lei_code ORDER BY c.rank_position ASC NULLS LAST, c.id ASC)
),
valid_candidates AS (
    SELECT c.*, d.computed_hash, d.normalized_domain, d.domain, d.batch_id
    FROM placed_candidates AS c
    INNER JOIN valid_domains AS d ON d.id = c.domain_id
    WHERE c.place = 1
),
-- ISO 7064 MOD 97-10 by plain arithmetic: letters become 10 to 35, the number modulo 97 is 1.
lei_validity AS (
    SELECT
        l.lei_code,
        CASE
            WHEN octet_length(l.lei_code) = 20 AND l.lei_code ~ '^[A-Z0-9]{18}[0-9]{2}$' THEN (
                SELECT
                    string_agg(
                        CASE WHEN ascii(x.letter) < 58 THEN x.letter ELSE (ascii(x.letter) - 55)::text END,
                        '' ORDER BY x.place
                    )::numeric % 97 = 1
                FROM (SELECT n AS place, substr(l.lei_code, n, 1) AS letter FROM generate_series(1, 20) AS n) AS x
            )
            ELSE false
        END AS is_valid_lei
    FROM (SELECT DISTINCT c.lei_code FROM valid_candidates AS c) AS l
)
