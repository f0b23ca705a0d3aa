"""What is checked of sources, tables and snapshots: names and severity first, then the evaluation. Pure."""
