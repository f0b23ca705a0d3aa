"""Readers of a published snapshot: resolve `current` once, scan, query, verify, give out a batch as a file.

Nothing here writes to the export folder.
"""
