"""Whether a worker is being served: the broker delivers to every runner of it, and the store answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from shared.errors import Unavailable
from shared.log import get_logger
from workers.runtime.runner import Runner

log = get_logger(__name__)

#: The broker is asked at most this often whether it still delivers to us, in seconds.
_VERIFY_EVERY = 5.0
_VERIFIED_FOR = 1.0


class Verification:
    """Asks, when somebody wants to know and every few seconds between `start` and `stop`."""

    def __init__(self, ping: Callable[[], Awaitable[None]], runners: Sequence[Runner]) -> None:
        """``ping`` asks the store; ``runners`` may become more."""
        self._ping, self._runners = ping, runners
        self._task: asyncio.Task[None] | None = None
        self._verified_until = 0.0
        self._lock = asyncio.Lock()

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep_verifying())

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def verify(self) -> None:
        """Raise unless the broker and the store confirm it. Cheap to call often."""
        async with self._lock:
            if time.monotonic() < self._verified_until:
                return
            await self._ping()
            await asyncio.gather(*(runner.verify() for runner in self._runners))
            self._verified_until = time.monotonic() + _VERIFIED_FOR

    async def _keep_verifying(self) -> None:
        """Asking is also what mends: a consumer that the broker does not know is subscribed again."""
        while True:
            await asyncio.sleep(_VERIFY_EVERY)
            try:
                await self.verify()
            except Unavailable as error:
                log.warning("worker.not_served", code=error.code, reason=error.message)
