"""The ways back to the queue for a delivery that this worker does not finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from shared.errors import PerceptionError, Unavailable
from shared.log import get_logger
from shared.ports import Broker, Message
from workers.runtime.attempts import Attempts
from workers.runtime.batching import Work
from workers.runtime.policy import Policy

log = get_logger(__name__)


class Requeue:
    """Gives the deliveries of one queue back to it. Each way settles the delivery."""

    def __init__(self, broker: Broker, service: str, queue: str, attempts: Attempts, policy: Policy) -> None:
        self._broker, self._service, self._queue = broker, service, queue
        self._attempts, self._policy = attempts, policy

    async def uncounted(self, works: Iterable[Work]) -> None:
        """Without counting as an attempt: nobody computed."""
        for work in works:
            await self._attempts.uncount(work)
            work.delivery.reject(requeue=True)

    async def after_pause(self, work: Work) -> None:
        """Once the store, which is away, has had the time to come back."""
        await asyncio.sleep(self._policy.retry_pause)
        work.delivery.reject(requeue=True)

    def later(self, work: Work, error: PerceptionError | None) -> None:
        """After the pause that a passing error asks for. It counts as an attempt."""
        asked, code = (None, None) if error is None else (error.retry_after, error.code)
        pause = self._policy.retry_pause if asked is None else asked
        log.info("job.retried", service=self._service, job=work.job.id, attempt=work.attempt, code=code)
        asyncio.get_running_loop().call_later(pause, lambda: work.delivery.reject(requeue=True))

    async def later_uncounted(self, work: Work, error: PerceptionError) -> None:
        """A work whose visits could not be handed over.

        It is no attempt: the worker did its part, and a job that was given up for a queue of visits that
        takes none would take its visits with it.
        """
        await self._attempts.uncount(work)
        self.later(work, error)

    async def to_the_end(self, work: Work) -> None:
        """Behind what this frame waits for: sent again, since what is given back comes back first."""
        await asyncio.sleep(self._policy.parked_pause)
        job = work.job
        message = Message(self._queue, work.delivery.body, job.id, max(0.0, job.deadline - time.time()))
        try:
            await self._broker.publish(message)
        except Unavailable:
            work.delivery.reject(requeue=True)
        else:
            work.delivery.ack()
