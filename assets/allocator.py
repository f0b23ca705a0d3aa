"""Sets Polars' allocator; to be imported before Polars is, by every module that a process starts with.

One arena instead of four per core: building a million domains takes half of the page faults, a tenth less time and 70
MB less. Freed pages go back to the system after 0.3 s: after 1 s the whole run took as long with 190 MB more, after 0 s
a third longer. As Polars sets it they stay for good.
"""

import os

# Read once, when Polars is loaded.
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,dirty_decay_ms:300,muzzy_decay_ms:0")
