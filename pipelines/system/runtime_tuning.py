"""Sets Polars' allocator and Python's collector: to be imported before Polars, by every module a process starts with.

One arena instead of four per core: building a million domains takes half of the page faults, a tenth less time and 70
MB less. Freed pages go back to the system after 0.3 s: after 1 s the whole run took as long with 190 MB more, after 0 s
a third longer. As Polars sets it they stay for good.
"""

import gc
import os

# Read once, when Polars is loaded.
POLARS_ALLOCATOR = {"_RJEM_MALLOC_CONF": "narenas:1,dirty_decay_ms:300,muzzy_decay_ms:0"}
for _name, _value in POLARS_ALLOCATOR.items():
    os.environ.setdefault(_name, _value)

# Loading Dagster makes 200,000 objects that stay: looked at 21 times instead of 450, it takes a tenth less time.
gc.set_threshold(50_000, 50, 100)
