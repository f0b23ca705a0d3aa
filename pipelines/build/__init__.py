"""The stages of a run and the files between them; pipelines/export.py calls them in order.

Entry points: stage_source (extraction.py), build_tables (building.py), build_derived_tables (derived_tables.py) and
publish_tables (publication.py). The tasks of the stages are read_range (source/read_range.py), build_segment.py and
derive_range.py. staging.py is the layout of the files between them, stagings.py says which staging is whose.
"""
