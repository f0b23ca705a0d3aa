"""Sets the allocators of Polars and Arrow, and Python's collector.

To be imported before Polars, by every module a process starts with.

Polars: one arena instead of four per core: building a million domains takes half of the page faults, a tenth less time
and 70 MB less. Freed pages go back to the system after 0.3 s: after 1 s the whole run took as long with 190 MB more,
after 0 s a third longer. As Polars sets it they stay for good.

Arrow: that of the system. Its own keeps what is freed: a run of a million domains peaked at 1,017 instead of 897 MiB,
and reading them at 687 instead of 495, in the same time.

C library: two arenas instead of eight per core, each of which keeps what is freed: 70 MiB less in the later stages.
"""

import gc
import os

from pipelines.system.memory import share_arenas

# Read once, when the library is loaded.
ALLOCATORS = {
    "_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:300,muzzy_decay_ms:0",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
}
for _name, _value in ALLOCATORS.items():
    os.environ.setdefault(_name, _value)

# Loading Dagster makes 200,000 objects that stay: looked at 21 times instead of 450, it takes a tenth less time.
gc.set_threshold(50_000, 50, 100)

share_arenas()
