"""Values that GLEIF is known to use (FACTS 10). Vocabularies change: an unknown value is warned of and published."""

# LEI-CDF 3.1 writes the text NULL for records that no entity status applies to.
ENTITY_STATUSES = ("ACTIVE", "INACTIVE", "NULL")
REGISTRATION_STATUSES = (
    "ISSUED",
    "LAPSED",
    "RETIRED",
    "MERGED",
    "DUPLICATE",
    "ANNULLED",
    "CANCELLED",
    "TRANSFERRED",
    "PENDING_TRANSFER",
    "PENDING_ARCHIVAL",
    "PENDING_VALIDATION",
)
ENTITY_CATEGORIES = (
    "GENERAL",
    "FUND",
    "BRANCH",
    "SOLE_PROPRIETOR",
    "RESIDENT_GOVERNMENT_ENTITY",
    "INTERNATIONAL_ORGANIZATION",
)
# ISO 3166-1 alpha-2, or ISO 3166-2.
JURISDICTION_PATTERN = "^[A-Z]{2}(-[A-Z0-9]{1,3})?$"

# Columns of candidate_exports that hold one of a list.
KNOWN_VALUES = {
    "entity_status": ENTITY_STATUSES,
    "registration_status": REGISTRATION_STATUSES,
    "entity_category": ENTITY_CATEGORIES,
}
