"""One batch of a snapshot as a file: csv, json, ndjson, xlsx or parquet, streamed.

Entry points: open_batch (batches.py), stream_batch (files.py).
"""
