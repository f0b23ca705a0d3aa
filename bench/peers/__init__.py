"""What a user would pick instead of lei-exports, one script each, run in an environment of its own (*.lock).

Each takes the database's URL and a folder, and writes domain_exports and candidate_exports there, as somebody would who
knows the tool well but does not do more than the tool makes easy: docs/benchmarks.md says what is left out.
"""
