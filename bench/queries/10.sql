WITH batches AS (
    SELECT batch_id, min(created_at) AS first_created_at FROM domains GROUP BY batch_id
), numbered AS (
    SELECT d.*, lower(btrim(d.domain)) AS normalized_domain,
        row_number() OVER (
            PARTITION BY lower(btrim(d.domain)) ORDER BY b.first_created_at DESC NULLS LAST, d.id DESC
        ) AS age
    FROM domains AS d
    JOIN batches AS b ON b.batch_id = d.batch_id
)
SELECT * FROM (
    SELECT DISTINCT ON (now.normalized_domain)
        now.domain, now.batch_id, now.failure_category, now.error_message,
        before.batch_id AS last_success_in, before.final_legal_name AS name_then
    FROM numbered AS now
    JOIN numbered AS before
        ON before.normalized_domain = now.normalized_domain AND before.age > 1 AND before.status = 'success'
    WHERE now.age = 1 AND now.status = 'failed'
    ORDER BY now.normalized_domain, before.age
) AS found
ORDER BY domain COLLATE "C"
