"""What the workers announce, asked of the store once in a while however many requests want to know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from shared.errors import StoreAway
from shared.facts import ServedFacts, WorkerFacts
from shared.ports import WorkerRegistry


class Announced:
    """The announcements of all workers, at most ``seconds`` old."""

    def __init__(self, registry: WorkerRegistry, seconds: float) -> None:
        self._registry, self._seconds = registry, seconds
        self._workers: Sequence[WorkerFacts] = ()
        self._asked = float("-inf")
        self._asking = asyncio.Lock()

    async def workers(self) -> Sequence[WorkerFacts]:
        """None of them while the store is away."""
        async with self._asking:
            if time.monotonic() - self._asked > self._seconds:
                try:
                    self._workers = await self._registry.workers()
                except StoreAway:
                    self._workers = ()
                self._asked = time.monotonic()
            return self._workers

    async def of(self, service: str, version: int) -> list[ServedFacts]:
        """What each worker announces of one service."""
        return [
            served
            for worker in await self.workers()
            for served in worker.services
            if (served.service, served.version) == (service, version)
        ]
