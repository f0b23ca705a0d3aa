"""Where tasks run: on this machine (local.py), or on a cluster (ray_cluster.py). Nothing here knows what a task does.

Entry points: open_engine, Engine, LOCAL.
"""

from pipelines.engine.engine import Engine, open_engine
from pipelines.engine.local import LOCAL

__all__ = ["LOCAL", "Engine", "open_engine"]
