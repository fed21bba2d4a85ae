"""How often a job was tried: only who computes has tried; what kills worker after worker is given up."""

from __future__ import annotations

import asyncio

from shared.errors import StoreAway
from shared.log import get_logger
from shared.ports import ResultStore
from workers.runtime.batching import Work
from workers.runtime.policy import Policy

log = get_logger(__name__)


class Attempts:
    """The attempts at the jobs of one service, counted in the store."""

    def __init__(self, results: ResultStore, service: str, policy: Policy) -> None:
        self._results, self._service, self._policy = results, service, policy

    async def may_try(self, work: Work) -> bool:
        """Count the attempt just before computing: who only waited beside a job that killed the worker has
        not tried.

        False after the delivery was settled: requeued while the store is away, dead-lettered after too many
        attempts.
        """
        try:
            work.attempt = 1 + await self._results.count_attempt(work.job.id)
            work.counted = True
        except StoreAway:
            await asyncio.sleep(self._policy.retry_pause)
            work.delivery.reject(requeue=True)
            return False
        if work.attempt > self._policy.attempts:
            log.error("job.gave_up", service=self._service, job=work.job.id, attempts=work.attempt - 1)
            work.delivery.reject(requeue=False)
            return False
        return True

    async def uncount(self, work: Work) -> None:
        """The delivery that goes back was no attempt."""
        if work.counted:
            try:
                await self._results.count_attempt(work.job.id, -1)
            except StoreAway:
                log.warning("store.away", service=self._service, works=1)
