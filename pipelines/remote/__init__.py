"""A published snapshot in object storage, as Delta Lake tables: sent, read, brought down, verified, and cleared away.

Entry points: push_snapshot (pushing.py), open_remote (reading.py), pull_snapshot (pulling.py), verify_remote
(verification.py). Its modules need the extra `cloud`, so they are imported only where PUBLISH_URL or a URL is given.
"""
