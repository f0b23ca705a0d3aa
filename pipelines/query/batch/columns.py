"""The columns of a batch as the application's users know them, in CSV and xlsx."""

from typing import NamedTuple


class SheetColumn(NamedTuple):
    """A column of the CSV and of the workbook.

    Attributes:
        header: What stands in the first row.
        name: The column of domain_exports.
        width: Its width in the workbook, characters.
    """

    header: str
    name: str
    width: int


SHEET_COLUMNS = (
    SheetColumn("Domain", "domain", 28),
    SheetColumn("Company Name", "company_name", 32),
    SheetColumn("Extraction Method", "extraction_method", 20),
    SheetColumn("Confidence Score", "confidence_score", 17),
    SheetColumn("Primary LEI Code", "primary_lei_code", 24),
    SheetColumn("Primary GLEIF Name", "primary_gleif_name", 32),
    SheetColumn("Country", "guessed_country", 10),
    SheetColumn("Total GLEIF Candidates", "gleif_candidate_count", 23),
    SheetColumn("All LEI Codes", "all_lei_codes", 48),
    SheetColumn("All Legal Names", "all_legal_names", 48),
    SheetColumn("All Jurisdictions", "all_jurisdictions", 20),
    SheetColumn("All Entity Statuses", "all_entity_statuses", 20),
    SheetColumn("Level 2 Status", "level2_status", 22),
    SheetColumn("Level 2 Candidates Count", "level2_candidates_count", 25),
    SheetColumn("Final Legal Name", "final_legal_name", 32),
    SheetColumn("Final Confidence", "final_confidence", 17),
    SheetColumn("Recommendation", "recommendation", 24),
    SheetColumn("Processing Time (ms)", "processing_time_ms", 21),
    SheetColumn("Status", "status", 12),
    SheetColumn("Error Message", "error_message", 32),
    SheetColumn("Failure Category", "failure_category", 20),
    SheetColumn("Technical Details", "technical_details", 32),
    SheetColumn("Retry Count", "retry_count", 13),
    SheetColumn("Created At", "created_at", 24),
    SheetColumn("Processed At", "processed_at", 24),
)
