"""The contract's version (DESIGN 4): semver; a new table, view or column is minor, to remove or retype one is major."""

CONTRACT_VERSION = "2.0.0"
