"""The staging folder of a run: source rows by segment, and the tables built from them (DESIGN 3.5, 3.6)."""
