"""Writers: Parquet and DuckDB files, snapshot folders, the manifest, the switch, retention (DESIGN 4)."""
