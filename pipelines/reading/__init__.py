"""Readers of a published snapshot: resolve `current` once, scan, query, verify. Nothing here writes."""
