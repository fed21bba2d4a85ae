"""Visits on their way from a frame's outcome to the recorder's queue."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from shared import metrics
from shared.errors import PerceptionError
from shared.log import get_logger
from shared.ports import Broker, Message
from shared.visits import VISITS
from workers.runtime.batching import Work
from workers.runtime.compute import Outcome

log = get_logger(__name__)


class VisitPublisher:
    """Publishes the visits that one service has seen."""

    def __init__(self, broker: Broker, service: str) -> None:
        self._broker, self._service = broker, service

    async def publish(self, brought: Sequence[tuple[Work, Outcome]]) -> dict[str, PerceptionError]:
        """Hand the visits to the recorder's queue.

        Before the result is stored, since afterwards nobody would do it again. So a frame that is computed
        twice may send them twice, and the recorder writes each visit by its id.

        Returns the jobs, by id, whose visits could not be handed over, and why.
        """
        messages = [
            (work.job.id, Message(VISITS, visit.encode(work.job.tenant), visit.id, makes_queue=True))
            for work, outcome in brought
            for visit in outcome.visits
        ]
        publishing = (self._publish(message) for _, message in messages)
        published = await asyncio.gather(*publishing, return_exceptions=True)
        unpublished: dict[str, PerceptionError] = {}
        for (job_id, _), result in zip(messages, published, strict=True):
            if isinstance(result, PerceptionError):
                log.error("visits.not_kept", service=self._service, job=job_id, code=result.code)
                unpublished[job_id] = result
            elif isinstance(result, BaseException):
                raise result
        return unpublished

    async def _publish(self, message: Message) -> None:
        begin = time.perf_counter()
        await self._broker.publish(message)
        metrics.PUBLISH_SECONDS.observe(time.perf_counter() - begin)
