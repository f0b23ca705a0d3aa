"""The contract's version (DESIGN 4): semver; a new table or column is minor, removing or retyping one is major."""

CONTRACT_VERSION = "1.1.0"
