"""The published store: Parquet and DuckDB writers, manifest, switch, retention, rollback, verification, opening.

Entry points: publish_snapshot (publishing.py), current_snapshot (opening.py), verify_snapshot (verification.py),
rollback (rollback.py), prune_now (retention.py), evaluate_health (health.py).
"""
