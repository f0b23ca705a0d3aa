"""The contract's version (DESIGN 4): semver; a new column is minor, removing, renaming or retyping one is major."""

CONTRACT_VERSION = "1.0.0"
