"""The ways back to the queue for a delivery that this worker does not finish."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable

from shared.errors import Unavailable
from shared.ports import Broker, Message
from workers.runtime.attempts import Attempts
from workers.runtime.batching import Work
from workers.runtime.policy import Policy


class Requeue:
    """Gives the deliveries of one queue back to it. Each way settles the delivery."""

    def __init__(self, broker: Broker, queue: str, attempts: Attempts, policy: Policy) -> None:
        self._broker, self._queue, self._attempts, self._policy = broker, queue, attempts, policy

    async def uncounted(self, works: Iterable[Work]) -> None:
        """Without counting as an attempt: nobody computed."""
        for work in works:
            await self._attempts.uncount(work)
            work.delivery.reject(requeue=True)

    async def after_pause(self, work: Work) -> None:
        """Once the store, which is away, has had the time to come back."""
        await asyncio.sleep(self._policy.retry_pause)
        work.delivery.reject(requeue=True)

    async def to_the_end(self, work: Work) -> None:
        """Behind what this frame waits for. What is given back comes back first, therefore it is sent again."""
        await asyncio.sleep(self._policy.parked_pause)
        job = work.job
        message = Message(self._queue, work.delivery.body, job.id, max(0.0, job.deadline - time.time()))
        try:
            await self._broker.publish(message)
        except Unavailable:
            work.delivery.reject(requeue=True)
        else:
            work.delivery.ack()
