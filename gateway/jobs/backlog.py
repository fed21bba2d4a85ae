"""How long a full queue will take, so that those who are refused know when to come back."""

from __future__ import annotations

import math
from collections import Counter

from gateway.jobs.announced import Announced
from shared.errors import QueueFull
from shared.jobs import queue_of
from shared.ports import WorkerRegistry
from shared.settings import Settings
from workers.catalog import ServiceType

#: Whoever finds a queue full is asked to come back once this share of it is done.
_ROOM = 0.1


class Backlog:
    """What the workers say of how fast they compute, asked for once in a while however many are refused."""

    def __init__(self, registry: WorkerRegistry, settings: Settings) -> None:
        self._announced, self._settings = Announced(registry, settings.facts_seconds), settings

    async def full(self, service: ServiceType) -> QueueFull:
        """The refusal of a full queue. Its Retry-After is that of the settings where no worker computed of late."""
        rate = (await self._computed())[queue_of(service.name, service.version)]
        if rate <= 0:
            return QueueFull(retry_after=self._settings.retry_after_seconds)
        drain = self._settings.queue_limit / rate
        message = f"the queue of {service.name} is full: what waits takes about {math.ceil(drain)} s"
        return QueueFull(message, retry_after=min(_ROOM * drain, self._settings.deadline_seconds))

    async def _computed(self) -> Counter[str]:
        """Items a second by queue."""
        rates: Counter[str] = Counter()
        for served in (served for worker in await self._announced.workers() for served in worker.services):
            rates[served.queue] += served.rate  # type: ignore[assignment]
        return rates
