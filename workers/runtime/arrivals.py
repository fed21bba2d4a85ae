"""Deliveries as they arrive: what comes in one turn of the event loop is one wave, sorted at once."""

from __future__ import annotations

import asyncio
import time

from shared import metrics, trace
from shared.aio import BackgroundTasks
from shared.jobs import UndecodableJob, decode_job
from shared.log import get_logger
from shared.ports import Delivery
from workers.runtime.activity import Activity
from workers.runtime.admission import Admission
from workers.runtime.batching import Work
from workers.runtime.dispatch import Dispatcher
from workers.runtime.in_hand import Held
from workers.runtime.policy import Policy

log = get_logger(__name__)


class Arrivals:
    """Turns the deliveries of one service into works: dispatched at once, or admitted first."""

    def __init__(
        self,
        service: str,
        activity: Activity,
        policy: Policy,
        admission: Admission,
        dispatcher: Dispatcher,
        tasks: BackgroundTasks,
    ) -> None:
        self._service, self._activity, self._policy = service, activity, policy
        self._admission, self._dispatcher, self._tasks = admission, dispatcher, tasks
        #: The wave that is still arriving.
        self._inbox: list[Held] = []
        self._queue_seconds = metrics.QUEUE_SECONDS.labels(service)

    def receive(self, delivery: Delivery) -> None:
        """Called by the broker for each message."""
        if not self._inbox:
            asyncio.get_running_loop().call_soon(self._sort)
        self._inbox.append(self._activity.hold(delivery))

    def _sort(self) -> None:
        wave, self._inbox = self._inbox, []
        now = time.time()
        ready: list[Work] = []
        waited: list[Work] = []
        for delivery in wave:
            work = self._decoded(delivery, now)
            if work is None:
                continue
            if self._admission.has_to_ask(work, now):
                self._tasks.start(self._admission.admit(work))
            elif now - work.job.created > self._policy.check_after:
                waited.append(work)
            else:
                ready.append(work)
        if waited:
            self._tasks.start(self._admission.admit_unfinished(waited))
        self._dispatcher.add(ready)

    def _decoded(self, delivery: Held, now: float) -> Work | None:
        """None after the delivery was dead-lettered: another worker could not decode it either."""
        try:
            work = Work(delivery, decode_job(delivery.body), now, counted=not delivery.redelivered)
        except UndecodableJob as error:
            log.error("job.undecodable", service=self._service, error=str(error))
            delivery.reject(requeue=False)
            return None
        created = work.job.created
        delivery.accepted = created
        self._queue_seconds.observe(max(0.0, now - created))
        trace.record("queue", created, now, work.job.trace, service=self._service)
        return work
