"""The export endpoints beside three others on the same data: `python -m bench.serving`."""
