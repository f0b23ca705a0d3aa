"""The stages of a run and the files between them; pipelines/export.py calls them in order.

Entry points: stage_source (extraction.py), build_tables (building.py), build_derived_tables (derived_tables.py),
publish_tables (publication.py); StagingFolder (staging.py) is the layout of the files between them.
"""
