"""What the workers announce, asked of the store once in a while however many requests want to know."""

from __future__ import annotations

from collections.abc import Sequence

from shared.aio import TtlCache
from shared.errors import StoreAway
from shared.facts import ServedFacts, WorkerFacts
from shared.ports import WorkerRegistry


class Announced:
    """The announcements of all workers, at most ``seconds`` old."""

    def __init__(self, registry: WorkerRegistry, seconds: float) -> None:
        self._registry = registry
        self._workers: TtlCache[None, Sequence[WorkerFacts]] = TtlCache(seconds)

    async def workers(self) -> Sequence[WorkerFacts]:
        """None of them while the store is away."""
        return await self._workers.load(None, self._ask)

    async def of(self, service: str, version: int) -> list[ServedFacts]:
        """What each worker announces of one service."""
        return [
            served
            for worker in await self.workers()
            for served in worker.services
            if (served.service, served.version) == (service, version)
        ]

    async def _ask(self) -> Sequence[WorkerFacts]:
        try:
            return await self._registry.workers()
        except StoreAway:
            return ()
