"""PostgreSQL, read in one exported snapshot.

Entry points: extract_source (extraction.py) reads what changed into a staging; SourcePreflight (preflight.py) holds the
questions that come first; probe_source (probe.py) tells cheaply whether the source changed. Only reader.py imports
connectorx.
"""
