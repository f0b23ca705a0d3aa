-- All seven tables with their rules, in DuckDB's SQL, from its copies of both source tables.
CREATE TEMP TABLE valid_domains AS
SELECT *, md5(normalized_domain) AS domain_hash
FROM (
    SELECT *, lower(trim(domain)) AS normalized_domain,
        CASE
            WHEN coalesce(trim(domain), '') = '' THEN 'missing_domain'
            WHEN coalesce(trim(batch_id), '') = '' THEN 'missing_batch_id'
            WHEN coalesce(trim(status), '') = '' THEN 'missing_status'
        END AS reason
    FROM domains
);

CREATE TEMP TABLE judged_candidates AS
SELECT c.*, d.domain, d.normalized_domain, d.domain_hash, d.batch_id,
    CASE
        WHEN coalesce(trim(c.lei_code), '') = '' THEN 'missing_lei_code'
        WHEN coalesce(trim(c.legal_name), '') = '' THEN 'missing_legal_name'
        WHEN d.id IS NULL OR d.reason IS NOT NULL THEN 'orphan_candidate'
        WHEN row_number() OVER (
            PARTITION BY c.domain_id, c.lei_code ORDER BY c.rank_position NULLS LAST, c.id
        ) > 1 THEN 'duplicate_candidate'
    END AS reason
FROM gleif_candidates AS c
LEFT JOIN valid_domains AS d ON d.id = c.domain_id;

CREATE TABLE rejected_rows AS
SELECT 'domains' AS source_table, id AS source_id, id AS domain_id, reason, to_json(d) AS row_json
FROM valid_domains AS d
WHERE reason IS NOT NULL
UNION ALL
SELECT 'gleif_candidates', id, domain_id, reason, to_json(c)
FROM judged_candidates AS c
WHERE reason IS NOT NULL;
DELETE FROM valid_domains WHERE reason IS NOT NULL;

CREATE TEMP TABLE lei_validity AS
SELECT lei_code,
    regexp_full_match(lei_code, '[A-Z0-9]{18}[0-9]{2}')
    AND CAST(
        array_to_string(
            [CASE WHEN x < 'A' THEN x ELSE CAST(ascii(x) - 55 AS VARCHAR) END FOR x IN string_split(lei_code, '')], ''
        ) AS HUGEINT
    ) % 97 = 1 AS is_valid_lei
FROM (SELECT DISTINCT lei_code FROM judged_candidates WHERE reason IS NULL);

CREATE TABLE candidate_exports AS
SELECT c.* EXCLUDE (id, reason, normalized_domain), c.id AS candidate_id, v.is_valid_lei
FROM judged_candidates AS c
JOIN lei_validity AS v USING (lei_code)
WHERE c.reason IS NULL
ORDER BY c.domain_id, c.rank_position NULLS LAST, c.id;

CREATE TABLE domain_exports AS
SELECT d.* EXCLUDE (id, reason, normalized_domain), d.id AS domain_id,
    coalesce(len(found), 0) AS gleif_candidate_count,
    coalesce(array_to_string([c.lei_code FOR c IN found], '; '), '') AS all_lei_codes,
    coalesce(array_to_string([c.legal_name FOR c IN found], '; '), '') AS all_legal_names,
    coalesce(array_to_string([coalesce(c.jurisdiction, '') FOR c IN found], '; '), '') AS all_jurisdictions,
    coalesce(array_to_string([coalesce(c.entity_status, '') FOR c IN found], '; '), '') AS all_entity_statuses,
    coalesce([c.lei_code FOR c IN found], []) AS lei_codes
FROM valid_domains AS d
LEFT JOIN (
    SELECT domain_id,
        list(
            {lei_code: lei_code, legal_name: legal_name, jurisdiction: jurisdiction, entity_status: entity_status}
            ORDER BY rank_position NULLS LAST, candidate_id
        ) AS found
    FROM candidate_exports
    GROUP BY domain_id
) AS a ON a.domain_id = d.id
ORDER BY d.id;

CREATE TABLE entities AS
SELECT e.*, v.is_valid_lei
FROM (
    SELECT lei_code,
        last(legal_name ORDER BY created_at NULLS FIRST, id) AS legal_name,
        last(jurisdiction ORDER BY created_at NULLS FIRST, id) AS jurisdiction,
        last(entity_status ORDER BY created_at NULLS FIRST, id) AS entity_status,
        last(registration_status ORDER BY created_at NULLS FIRST, id) AS registration_status,
        last(legal_form ORDER BY created_at NULLS FIRST, id) AS legal_form,
        last(entity_category ORDER BY created_at NULLS FIRST, id) AS entity_category,
        count(*) AS candidate_count, count(DISTINCT domain_hash) AS domain_count,
        count(DISTINCT batch_id) AS batch_count, count(*) FILTER (is_primary_selection) AS primary_count,
        min(rank_position) AS best_rank, list_sort(list(DISTINCT normalized_domain)) AS domains,
        min(created_at) AS first_seen_at, max(created_at) AS last_seen_at
    FROM judged_candidates
    WHERE reason IS NULL
    GROUP BY lei_code
) AS e
JOIN lei_validity AS v USING (lei_code)
ORDER BY lei_code;

CREATE TABLE unique_domains AS
SELECT u.*, b.id AS best_domain_id, b.batch_id AS best_batch_id, b.status, b.company_name, b.confidence_score,
    b.guessed_country, b.primary_lei_code, b.primary_gleif_name, b.final_legal_name, b.final_confidence,
    coalesce(len(found), 0) AS distinct_lei_count,
    coalesce(array_to_string([c.lei_code FOR c IN found], '; '), '') AS all_lei_codes,
    coalesce(array_to_string([c.legal_name FOR c IN found], '; '), '') AS all_legal_names,
    coalesce(array_to_string([coalesce(c.jurisdiction, '') FOR c IN found], '; '), '') AS all_jurisdictions,
    coalesce(array_to_string([coalesce(c.entity_status, '') FOR c IN found], '; '), '') AS all_entity_statuses,
    coalesce([c.lei_code FOR c IN found], []) AS lei_codes
FROM (
    SELECT domain_hash, min(normalized_domain) AS domain, count(*) AS result_count,
        count(DISTINCT batch_id) AS batch_count, count(*) FILTER (status = 'success') AS success_count,
        count(*) FILTER (status = 'failed') AS failed_count, min(created_at) AS first_created_at,
        max(processed_at) AS last_processed_at
    FROM valid_domains
    GROUP BY domain_hash
) AS u
JOIN (
    SELECT *
    FROM valid_domains
    QUALIFY row_number() OVER (
        PARTITION BY domain_hash
        ORDER BY (status = 'success') DESC, coalesce(final_confidence, confidence_score) DESC NULLS LAST,
            processed_at DESC NULLS LAST, id DESC
    ) = 1
) AS b USING (domain_hash)
LEFT JOIN (
    SELECT domain_hash,
        list(
            {lei_code: lei_code, legal_name: last.legal_name, jurisdiction: last.jurisdiction,
                entity_status: last.entity_status}
            ORDER BY best_rank NULLS LAST, row_count DESC, lei_code
        ) AS found
    FROM (
        SELECT domain_hash, lei_code, min(rank_position) AS best_rank, count(*) AS row_count,
            last(
                {legal_name: legal_name, jurisdiction: jurisdiction, entity_status: entity_status}
                ORDER BY created_at NULLS FIRST, id
            ) AS last
        FROM judged_candidates
        WHERE reason IS NULL
        GROUP BY domain_hash, lei_code
    )
    GROUP BY domain_hash
) AS a USING (domain_hash)
ORDER BY domain_hash;

CREATE TABLE batch_summaries AS
SELECT d.batch_id, count(*) AS result_count, count(DISTINCT domain_hash) AS unique_domain_count,
    count(*) FILTER (status = 'success') AS success_count, count(*) FILTER (status = 'failed') AS failed_count,
    count(*) FILTER (status = 'pending') AS pending_count, count(*) FILTER (status = 'processing') AS processing_count,
    count(*) FILTER (status NOT IN ('success', 'failed', 'pending', 'processing')) AS other_count,
    100 * count(*) FILTER (status = 'success') / count(*) AS success_pct,
    count(*) FILTER (gleif_candidate_count > 0) AS with_candidates_count,
    100 * count(*) FILTER (gleif_candidate_count > 0) / count(*) AS with_candidates_pct,
    sum(gleif_candidate_count) AS candidate_count, any_value(c.distinct_lei_count) AS distinct_lei_count,
    count(*) FILTER (trim(primary_lei_code) <> '') AS with_primary_count,
    count(*) FILTER (manual_review_required) AS manual_review_count,
    avg(CAST(confidence_score AS DOUBLE)) AS confidence_score_avg,
    median(CAST(confidence_score AS DOUBLE)) AS confidence_score_median,
    avg(processing_time_ms) AS processing_time_ms_avg,
    quantile_cont(CAST(processing_time_ms AS DOUBLE), 0.95) AS processing_time_ms_p95,
    min(created_at) AS first_created_at, max(processed_at) AS last_processed_at
FROM domain_exports AS d
LEFT JOIN (
    SELECT batch_id, count(DISTINCT lei_code) AS distinct_lei_count FROM candidate_exports GROUP BY batch_id
) AS c ON c.batch_id = d.batch_id
GROUP BY d.batch_id
ORDER BY d.batch_id;

CREATE TABLE jurisdiction_summaries AS
SELECT coalesce(jurisdiction, 'unknown') AS jurisdiction, count(*) AS candidate_count,
    count(DISTINCT lei_code) AS distinct_lei_count, count(DISTINCT domain_hash) AS domain_count,
    count(*) FILTER (is_primary_selection) AS primary_count, count(*) FILTER (entity_status = 'ACTIVE') AS active_count
FROM candidate_exports
GROUP BY ALL
ORDER BY ALL;
