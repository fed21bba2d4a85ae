"""The deliveries that this process attempts at the moment, and how many there may be at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from shared.aio import BackgroundTasks
from shared.settings import Settings
from webhooks.model import Delivery, milliseconds

#: A lease outlasts an attempt by this many seconds.
_LEASE_SLACK = 10.0


class InFlight:
    """Attempts under way, each in a task of its own, and their limits: of all streams, and of each one."""

    def __init__(
        self,
        settings: Settings,
        attempt: Callable[[Delivery], Coroutine[Any, Any, None]],
        ended: Callable[[], None],
    ) -> None:
        """``attempt`` is what is done with a delivery; ``ended`` is called after each attempt."""
        self._settings, self._attempt, self._ended = settings, attempt, ended
        self._tasks = BackgroundTasks()
        self._by_task: dict[asyncio.Task[None], Delivery] = {}
        #: By stream, places that are kept for deliveries which are being written down.
        self._reserved: Counter[str] = Counter()

    def start(self, delivery: Delivery) -> None:
        """Attempt a delivery whose lease is ours."""
        task = self._tasks.start(self._attempt(delivery))
        self._by_task[task] = delivery
        task.add_done_callback(self._by_task.pop)
        task.add_done_callback(lambda _: self._ended())

    async def cancel(self) -> list[Delivery]:
        """Cancel every attempt; the deliveries that were under way."""
        deliveries = list(self._by_task.values())
        await self._tasks.cancel()
        return deliveries

    @contextmanager
    def reserve(self, stream: str) -> Iterator[None]:
        """Keep a place for a delivery of the stream while the block lasts."""
        self._reserved[stream] += 1
        try:
            yield
        finally:
            self._reserved[stream] -= 1

    @property
    def free(self) -> int:
        """How many more deliveries may be started."""
        return self._settings.webhook_deliveries - self._count().total()

    @property
    def share(self) -> int:
        """Half of what a stream may have under way.

        It is left to what is claimed, and to what has just ended, so that neither waits for the other.
        """
        return max(1, self._settings.webhook_deliveries_per_stream // 2)

    def busy(self) -> list[str]:
        """The streams that have no room for another `share`."""
        most = self._settings.webhook_deliveries_per_stream
        return [stream for stream, count in self._count().items() if count + self.share > most]

    def has_room(self, stream: str) -> bool:
        """Whether a delivery whose job has just ended may be started without being claimed."""
        return self.free > 0 and self._count()[stream] < self.share

    def lease(self, now: float) -> int:
        """The end of a lease that begins ``now`` (seconds since 1970), in milliseconds."""
        return milliseconds(now + self._settings.webhook_timeout_seconds + _LEASE_SLACK)

    def _count(self) -> Counter[str]:
        return Counter(delivery.stream for delivery in self._by_task.values()) + self._reserved
