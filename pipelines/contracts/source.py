"""The two tables of the application that are read (DESIGN 4.7): known columns, required ones, what each means.

A column is required where `nullable=False`; the application may lack any other one, which is then read as NULL.
"""

from dataclasses import dataclass

import dataframely as dy
import polars as pl
import pyarrow as pa

from pipelines.contracts.columns import Storage, text

KEY, TEXT, CODE = Storage.KEY, Storage.TEXT, Storage.CODE
_POINTS, _UTC, _MS = {"unit": "points, 0 to 100"}, {"unit": "UTC"}, {"unit": "ms"}


class Domains(dy.Schema):
    """One row per domain and batch: the application's `domains`."""

    id = dy.Int64(nullable=False, primary_key=True, description="Id of the row of `domains`")
    domain_hash = text(KEY, "md5 of the normalized domain in UTF-8, lower-case hex; the same in every batch")
    domain = text(KEY, "The domain as the source has it", nullable=False)
    status = text(CODE, "Where processing stands: pending, processing, success or failed", nullable=False)
    company_name = text(TEXT, "Company name that was found for the domain")
    extraction_method = text(CODE, "How the company name was found")
    confidence_score = dy.Float32(nullable=True, description="Confidence in company_name", metadata=_POINTS)
    guessed_country = text(CODE, "Country that the application guessed")
    retry_count = dy.Int32(nullable=True, description="How often processing was tried again")
    error_message = text(CODE, "Why processing failed, in the application's words")
    failure_category = text(CODE, "Kind of failure")
    technical_details = text(CODE, "Details of the failure for developers")
    extraction_attempts = text(CODE, "What was tried, as the application recorded it")
    recommendation = text(CODE, "What the application advises to do about the domain")
    batch_id = text(CODE, "Batch that the row belongs to", nullable=False)
    created_at = dy.Datetime(nullable=True, description="When the row was created", metadata=_UTC)
    processed_at = dy.Datetime(nullable=True, description="When processing ended", metadata=_UTC)
    processing_started_at = dy.Datetime(nullable=True, description="When processing began", metadata=_UTC)
    processing_time_ms = dy.Int32(nullable=True, description="How long processing took", metadata=_MS)
    predicted_entity_category = text(CODE, "GLEIF entity category that was predicted")
    entity_category_confidence = dy.Int32(
        nullable=True, description="Confidence in predicted_entity_category", metadata=_POINTS
    )
    entity_category_indicators = text(CODE, "What spoke for predicted_entity_category")
    level2_attempted = dy.Bool(nullable=True, description="Whether the GLEIF search (level 2) was tried")
    level2_status = text(CODE, "How the GLEIF search ended")
    level2_candidates_count = dy.Int32(
        nullable=True,
        description="Candidates that the application says it found; gleif_candidate_count has the real number",
    )
    level2_processing_time_ms = dy.Int32(nullable=True, description="How long the GLEIF search took", metadata=_MS)
    primary_lei_code = text(KEY, "LEI that the application chose")
    primary_gleif_name = text(TEXT, "GLEIF name of primary_lei_code")
    primary_selection_confidence = dy.Int32(
        nullable=True, description="Confidence in primary_lei_code", metadata=_POINTS
    )
    selection_algorithm = text(CODE, "How primary_lei_code was chosen")
    final_legal_name = text(TEXT, "Legal name after all levels")
    final_confidence = dy.Int32(nullable=True, description="Confidence in final_legal_name", metadata=_POINTS)
    final_extraction_method = text(CODE, "How final_legal_name was found")
    primary_business_description = text(CODE, "What the company does, from its site")
    industry_context = text(CODE, "Industry, from the company's site")
    corporate_heritage = text(CODE, "History of the company, from its site")
    business_scale = text(CODE, "Size of the business, from the company's site")
    corporate_structure = text(CODE, "Structure of the group, from the company's site")
    hero_section_content = text(CODE, "Text at the top of the site's first page")
    about_section_summary = text(CODE, "Summary of the site's page about the company")
    business_focus_keywords = text(CODE, "Keywords of the business, from the company's site")
    geographic_presence = text(CODE, "Where the company is present, from its site")
    corporate_timeline = text(CODE, "Dates in the company's history, from its site")
    business_category = text(CODE, "Category of the business")
    business_subcategory = text(CODE, "Subcategory of the business")
    market_position = text(CODE, "Market position, from the company's site")
    company_type = text(CODE, "Type of company")
    content_sources = text(CODE, "Pages that the site's content was taken from")
    extraction_timestamp = dy.Datetime(nullable=True, description="When the site's content was taken", metadata=_UTC)
    content_quality_score = dy.Int32(nullable=True, description="Quality of the site's content", metadata=_POINTS)
    manual_review_required = dy.Bool(nullable=True, description="Whether a person should look at the row")
    selection_notes = text(CODE, "Why primary_lei_code was chosen, in the application's words")


class GleifCandidates(dy.Schema):
    """One row per candidate legal entity of a row of `domains`: the application's `gleif_candidates`."""

    id = dy.Int64(nullable=False, primary_key=True, description="Id of the row of `gleif_candidates`")
    domain_id = dy.Int64(nullable=False, description="Id of the row of `domains`")
    lei_code = text(KEY, "LEI (ISO 17442) as the source has it", nullable=False)
    legal_name = text(TEXT, "Legal name of the entity", nullable=False)
    entity_status = text(CODE, "GLEIF entity status, such as ACTIVE or INACTIVE")
    jurisdiction = text(CODE, "Legal jurisdiction: ISO 3166-1 alpha-2 or ISO 3166-2")
    legal_form = text(CODE, "Legal form: ELF code (ISO 20275)")
    entity_category = text(CODE, "GLEIF entity category, such as GENERAL, FUND or BRANCH")
    registration_status = text(CODE, "Status of the LEI itself, such as ISSUED or LAPSED")
    gleif_match_score = dy.Float32(nullable=True, description="How well GLEIF matched the name", metadata=_POINTS)
    weighted_score = dy.Float32(nullable=True, description="Score that candidates are ranked by", metadata=_POINTS)
    rank_position = dy.Int32(
        nullable=True, description="Rank among the candidates of the domain row", metadata={"unit": "1 is best"}
    )
    domain_tld_score = dy.Float32(
        nullable=True,
        description="How well the top-level domain fits the jurisdiction",
        metadata=_POINTS,
    )
    fortune500_score = dy.Float32(nullable=True, description="Signs of a large company", metadata=_POINTS)
    name_match_score = dy.Float32(nullable=True, description="How well the names match", metadata=_POINTS)
    entity_complexity_score = dy.Float32(
        nullable=True, description="Completeness of the GLEIF record", metadata=_POINTS
    )
    match_method = text(CODE, "How the candidate was found, such as exact or fuzzy")
    selection_reason = text(CODE, "What speaks for the candidate, in the application's words")
    is_primary_selection = dy.Bool(nullable=True, description="Whether the application chose this candidate")
    gleif_full_data = text(TEXT, "The GLEIF record as received, text")
    created_at = dy.Datetime(nullable=True, description="When the candidate was stored", metadata=_UTC)


@dataclass(frozen=True)
class SourceTable:
    """A table of the source.

    Attributes:
        schema: Known columns in the order of DESIGN 4.7.
        segment_column: The column whose value, an id of `domains`, says which segment a row belongs to.
    """

    name: str
    schema: type[dy.Schema]
    segment_column: str


DOMAINS = SourceTable("domains", Domains, "id")
GLEIF_CANDIDATES = SourceTable("gleif_candidates", GleifCandidates, "domain_id")
SOURCE_TABLES = (DOMAINS, GLEIF_CANDIDATES)

FULL_DATA_COLUMN = "gleif_full_data"
_ARROW_TYPES: dict[pl.DataType, pa.DataType] = {
    pl.Int32(): pa.int32(),
    pl.Int64(): pa.int64(),
    pl.Float32(): pa.float32(),
    pl.String(): pa.string(),
    pl.Boolean(): pa.bool_(),
    pl.Datetime("us"): pa.timestamp("us"),
}
KNOWN_STATUSES = ("pending", "processing", "success", "failed")


def source_columns(table: SourceTable, *, include_full_data: bool) -> dict[str, dy.Column]:
    """Columns of a source table that a run reads, by name, in the order of DESIGN 4.7."""
    columns = table.schema.columns()
    return {name: column for name, column in columns.items() if include_full_data or name != FULL_DATA_COLUMN}


def staged_schema(columns: dict[str, dy.Column]) -> pa.Schema:
    """Arrow schema of the staged rows of a source table."""
    return pa.schema([(name, _ARROW_TYPES[column.dtype]) for name, column in columns.items()])
