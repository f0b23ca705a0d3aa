"""Answers on their way to clients: how many bytes they are together. A slow client keeps its answer in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from pipelines.serving.problems import too_busy, too_large


class Sending:
    """The bytes of all answers that are being sent. Of use to the event loop's thread alone."""

    def __init__(self, max_bytes: int, wait_seconds: float) -> None:
        """Nothing is sent yet.

        Args:
            max_bytes: Of all answers together.
            wait_seconds: How long an answer waits for others to be gone.
        """
        self._max_bytes = max_bytes
        self._wait_seconds = wait_seconds
        self._bytes = 0
        self._less = anyio.Event()

    @asynccontextmanager
    async def hold(self, size: int) -> AsyncIterator[None]:
        """An answer of so many bytes is sent while the block runs.

        Raises:
            ProblemError: It is too large, or others were not gone in time.
        """
        if size > self._max_bytes:
            raise too_large(f"The answer has {size:,} bytes, {self._max_bytes:,} are the most. Ask for less.")
        try:
            with anyio.fail_after(self._wait_seconds):
                while self._bytes + size > self._max_bytes:
                    await self._less.wait()
        except TimeoutError:
            raise too_busy("As much is being sent as may be at a time. Try again later.") from None
        self._bytes += size
        try:
            yield
        finally:
            self._bytes -= size
            self._less.set()
            self._less = anyio.Event()
