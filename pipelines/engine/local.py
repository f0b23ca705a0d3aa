import os
import time
from concurrent.futures import FIRST_COMPLETED, wait

from pipelines.source.workers import Workers


def _nothing() -> None: ...


class LocalEngine:
    name = "local"

    def map(
        self, function, tasks, *, memory_bytes, at_a_time=None, watch=_nothing, on_stop=_nothing, on_give_up=_nothing
    ):
        width = at_a_time or min(4, len(os.sched_getaffinity(0)))
        todo = iter(tasks)
        pending = set()
        with Workers(width, "export-task") as pool:
            try:
                while True:
                    for task in todo:
                        pending.add(pool.submit(function, task))
                        if len(pending) >= width:
                            break
                    if not pending:
                        return
                    while True:
                        watch()
                        done, pending = wait(pending, timeout=0.5, return_when=FIRST_COMPLETED)
                        if done:
                            break
                    results = [future.result() for future in done]
                    del done
                    while results:
                        yield results.pop()
            except BaseException:
                pool.drop_waiting()
                until = time.monotonic() + 5
                while (pending := {f for f in pending if not f.done()}) and time.monotonic() < until:
                    on_stop()
                    wait(pending, timeout=0.5)
                if pending:
                    on_give_up()
                raise


LOCAL = LocalEngine()
