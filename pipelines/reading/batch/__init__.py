"""A batch as a file: CSV, JSON, NDJSON, xlsx or Parquet of one batch, read from one published snapshot."""
