"""Connecting to a Ray cluster, or starting one on this machine."""

import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import ray
from ray._private import ray_constants  # there is no public way to keep a cluster on 127.0.0.1

from pipelines.errors import EngineError

PAGE = "docs/scale-out.md"
_CONNECT_SECONDS = 5.0
# Facts are small. Ray wants 75 MiB at least; its default is 30 % of the memory.
_OBJECT_STORE_BYTES = 80 * 2**20


@contextmanager
def connected(address: str | None) -> Iterator[None]:
    """Connect this process to a cluster, or start one on this machine, while the block runs.

    Args:
        address: Host and port of the head; None starts a cluster on 127.0.0.1.

    Raises:
        EngineError: There is no such cluster, it refuses us, or none could be started.
    """
    if ray.is_initialized():  # this process is a task of a cluster itself, as with dagster-ray
        yield
        return
    if address is None:
        _connect(address="local", include_dashboard=False, object_store_memory=_OBJECT_STORE_BYTES)
    else:
        _require_listener(address)
        _connect(address=address)
    try:
        yield
    finally:
        ray.shutdown()


def _connect(address: str, **options: object) -> None:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with _loopback_only() if address == "local" else nullcontext():
            ray.init(address=address, log_to_driver=False, configure_logging=False, **options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        ray.shutdown()
        raise _refused(address, error) from None
    finally:
        # Ray sets a handler of its own for SIGTERM; ours stop a run in order.
        if threading.current_thread() is threading.main_thread():
            for number, handler in handlers.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextmanager
def _loopback_only() -> Iterator[None]:
    """Start a cluster on 127.0.0.1. Ray does so by itself on macOS only; elsewhere it listens on every interface."""
    former = ray_constants.ENABLE_RAY_CLUSTER
    ray_constants.ENABLE_RAY_CLUSTER = False
    try:
        yield
    finally:
        ray_constants.ENABLE_RAY_CLUSTER = former


def _require_listener(address: str) -> None:
    """Ray itself tries for 20 s and writes to standard error."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise EngineError(
            f"No Ray cluster answers at RAY_ADDRESS ({address})",
            expected="the host and port of its head",
            found=error.strerror or type(error).__name__,
            fix=f"start the cluster, or correct RAY_ADDRESS ({PAGE})",
        ) from None


def _refused(address: str, error: Exception) -> EngineError:
    if address == "local":
        return EngineError("A local Ray cluster could not be started", found=_first_line(error), fix="see /tmp/ray")
    if isinstance(error, ConnectionError):
        return EngineError(
            f"The Ray cluster at RAY_ADDRESS ({address}) refuses the connection",
            expected="the token of the cluster (RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH), and TLS where it has TLS",
            found="another token or none, TLS on one side only, or something else that listens there",
            fix=f"give the coordinator the variables that the head was started with ({PAGE})",
        )
    return EngineError(
        f"The Ray cluster at RAY_ADDRESS ({address}) can't be used from here",
        expected="the same versions of Ray and Python, and a node of the cluster on this machine",
        found=_first_line(error),
        fix=f"run the coordinator on a node of the cluster, from the same image ({PAGE})",
    )


def _first_line(error: Exception) -> str:
    return next(iter(str(error).strip().splitlines()), "") or type(error).__name__
