"""Load on a server: clients that ask one path after the other, each over a connection that it keeps.

Run as a process of its own (`python -m bench.serving.load`), so that it takes no time from whoever waits for it. Reads
its plan as JSON from standard input, writes the latencies as JSON. Loopback only, bounded in time and in requests.
"""

import http.client
import json
import sys
import threading
import time
from dataclasses import asdict, dataclass, field
from typing import Any

_TIMEOUT_SECONDS = 120
_BLOCK = 1 << 20
_OK = 200


@dataclass(frozen=True)
class Plan:
    """What to ask.

    Attributes:
        port: The server's, on 127.0.0.1.
        paths: Asked in turn, over and over; each client begins elsewhere.
        clients: How many ask at a time.
        seconds: No request begins later.
        max_requests: Of all clients together.
    """

    port: int
    paths: list[str]
    clients: int
    seconds: float
    max_requests: int


@dataclass
class Result:
    """What came of it: seconds of each request, of all together, and bytes of all bodies."""

    latencies: list[float] = field(default_factory=list)
    seconds: float = 0.0
    received_bytes: int = 0
    failures: list[str] = field(default_factory=list)


class _Clients:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._result = Result()
        self._lock = threading.Lock()
        self._begun = 0

    def run(self) -> Result:
        threads = [threading.Thread(target=self._client, args=(number,)) for number in range(self._plan.clients)]
        begin = time.perf_counter()
        self._until = begin + self._plan.seconds
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self._result.seconds = time.perf_counter() - begin
        return self._result

    def _client(self, number: int) -> None:
        paths = self._plan.paths
        place = number * len(paths) // self._plan.clients
        connection = http.client.HTTPConnection("127.0.0.1", self._plan.port, timeout=_TIMEOUT_SECONDS)
        try:
            while self._may_begin():
                self._ask(connection, paths[place % len(paths)])
                place += 1
        except (OSError, http.client.HTTPException, RuntimeError) as error:
            with self._lock:
                self._result.failures.append(f"{type(error).__name__}: {error}")
        finally:
            connection.close()

    def _may_begin(self) -> bool:
        with self._lock:
            self._begun += 1
            return self._begun <= self._plan.max_requests and time.perf_counter() < self._until

    def _ask(self, connection: http.client.HTTPConnection, path: str) -> None:
        begin = time.perf_counter()
        connection.request("GET", path, headers={"Accept-Encoding": "identity"})
        with connection.getresponse() as response:
            size = 0
            while part := response.read(_BLOCK):
                size += len(part)
            if response.status != _OK:
                raise RuntimeError(f"{path} was answered {response.status}")
        took = time.perf_counter() - begin
        with self._lock:
            self._result.latencies.append(took)
            self._result.received_bytes += size


def main() -> None:
    """Run the plan of standard input."""
    # At the usual 5 ms a client's latency would be how long its own threads wait for each other.
    sys.setswitchinterval(0.0002)
    plan: dict[str, Any] = json.load(sys.stdin)
    json.dump(asdict(_Clients(Plan(**plan)).run()), sys.stdout)


if __name__ == "__main__":
    main()
