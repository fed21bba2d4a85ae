"""A worker process says of itself what it does, every few seconds, in the store: nobody has to know where it is to ask it."""

from __future__ import annotations

import asyncio
import os
import socket
import time
import uuid
from collections.abc import Callable, Sequence

from shared.errors import StoreAway
from shared.facts import ServedFacts, WorkerFacts
from shared.log import get_logger
from shared.ports import WorkerRegistry

log = get_logger(__name__)


class Announcer:
    """Announces one process from `start` until `stop`."""

    def __init__(self, registry: WorkerRegistry, every: float, device: str, threads: int, release: str) -> None:
        """``every``: seconds between announcements; ``threads``: model threads of the process."""
        self._registry, self._every = registry, every
        self._device, self._threads, self._release = device, threads, release
        self._id = uuid.uuid4().hex
        self._started = time.time()
        self._task: asyncio.Task[None] | None = None

    def start(self, tell: Callable[[], Sequence[ServedFacts]]) -> None:
        """``tell`` gives what is so now of each service."""
        self._task = asyncio.create_task(self._keep_announcing(tell))

    async def stop(self) -> None:
        """Say that the process ends, if the store hears it; if not, silence says it."""
        if self._task is None:
            return
        self._task.cancel()
        await asyncio.wait([self._task])
        try:
            await self._registry.withdraw(self._id)
        except StoreAway:
            log.warning("worker.not_withdrawn")

    async def _keep_announcing(self, tell: Callable[[], Sequence[ServedFacts]]) -> None:
        while True:
            try:
                await self._registry.announce(self._facts(tell()))
            except StoreAway as error:
                log.debug("worker.not_announced", reason=error.message)  # the store's absence is told elsewhere
            await asyncio.sleep(self._every)

    def _facts(self, services: Sequence[ServedFacts]) -> WorkerFacts:
        return WorkerFacts(
            id=self._id,
            host=socket.gethostname(),
            pid=os.getpid(),
            release=self._release,
            device=self._device,
            threads=self._threads,
            started=self._started,
            at=time.time(),
            services=tuple(services),
        )
