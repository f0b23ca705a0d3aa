"""One exported PostgreSQL snapshot, read in page ranges by several connections (DESIGN 3)."""
