-- DESIGN 4.1
SELECT
    d.id AS domain_id,
    d.computed_hash AS domain_hash,
    d.domain,
    d.status,
    d.company_name,
    d.extraction_method,
    d.confidence_score,
    d.guessed_country,
    d.retry_count,
    d.error_message,
    d.failure_category,
    d.technical_details,
    d.extraction_attempts,
    d.recommendation,
    d.batch_id,
    d.created_at,
    d.processed_at,
    d.processing_started_at,
    d.processing_time_ms,
    d.predicted_entity_category,
    d.entity_category_confidence,
    d.entity_category_indicators,
    d.level2_attempted,
    d.level2_status,
    d.level2_candidates_count,
    d.level2_processing_time_ms,
    d.primary_lei_code,
    d.primary_gleif_name,
    d.primary_selection_confidence,
    d.selection_algorithm,
    d.final_legal_name,
    d.final_confidence,
    d.final_extraction_method,
    d.primary_business_description,
    d.industry_context,
    d.corporate_heritage,
    d.business_scale,
    d.corporate_structure,
    d.hero_section_content,
    d.about_section_summary,
    d.business_focus_keywords,
    d.geographic_presence,
    d.corporate_timeline,
    d.business_category,
    d.business_subcategory,
    d.market_position,
    d.company_type,
    d.content_sources,
    d.extraction_timestamp,
    d.content_quality_score,
    d.manual_review_required,
    d.selection_notes,
    coalesce(a.candidate_count, 0) AS gleif_candidate_count,
    coalesce(a.all_lei_codes, '') AS all_lei_codes,
    coalesce(a.all_legal_names, '') AS all_legal_names,
    coalesce(a.all_jurisdictions, '') AS all_jurisdictions,
    coalesce(a.all_entity_statuses, '') AS all_entity_statuses,
    coalesce(a.lei_codes, ARRAY[]::text[]) AS lei_codes
FROM valid_domains AS d
LEFT JOIN (
    SELECT
        c.domain_id,
        count(*) AS candidate_count,
        string_agg(c.lei_code, '; ' ORDER BY c.rank_position ASC NULLS LAST, c.id ASC) AS all_lei_codes,
        string_agg(c.legal_name, '; ' ORDER BY c.rank_position ASC NULLS LAST, c.id ASC) AS all_legal_names,
        string_agg(
            coalesce(c.jurisdiction, ''), '; ' ORDER BY c.rank_position ASC NULLS LAST, c.id ASC
        ) AS all_jurisdictions,
        string_agg(
            coalesce(c.entity_status, ''), '; ' ORDER BY c.rank_position ASC NULLS LAST, c.id ASC
        ) AS all_entity_statuses,
        array_agg(c.lei_code ORDER BY c.rank_position ASC NULLS LAST, c.id ASC) AS lei_codes
    FROM valid_candidates AS c
    GROUP BY c.domain_id
) AS a ON a.domain_id = d.id
ORDER BY d.id ASC
