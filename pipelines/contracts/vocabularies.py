"""Values that GLEIF is known to use (FACTS 10), and the characters that the application takes for white space.

Vocabularies change: an unknown value is warned of and published.
"""

# Columns of candidate_exports that hold one of a list.
KNOWN_VALUES = {
    # LEI-CDF 3.1 writes the text NULL for records that no entity status applies to.
    "entity_status": ("ACTIVE", "INACTIVE", "NULL"),
    "registration_status": (
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
    ),
    "entity_category": (
        "GENERAL",
        "FUND",
        "BRANCH",
        "SOLE_PROPRIETOR",
        "RESIDENT_GOVERNMENT_ENTITY",
        "INTERNATIONAL_ORGANIZATION",
    ),
}
# ISO 3166-1 alpha-2, or ISO 3166-2.
JURISDICTION_PATTERN = "^[A-Z]{2}(-[A-Z0-9]{1,3})?$"

# JavaScript's trim set, the application's rule (DESIGN 4); U+0085 is not in it.
WHITE_SPACE = (
    "\u0009\u000a\u000b\u000c\u000d\u0020\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a"
    "\u2028\u2029\u202f\u205f\u3000\ufeff"
)
