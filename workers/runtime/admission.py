"""Admission: everything that may have to be asked before a work can compute."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from shared import metrics
from shared.errors import BlobGone, DeadlineExceeded, FrameSkipped, StoreAway
from shared.jobs import blob_place
from shared.ports import Stores
from workers.contract import Service
from workers.runtime.batching import Work
from workers.runtime.dispatch import Dispatcher
from workers.runtime.policy import Policy
from workers.runtime.requeue import Requeue
from workers.runtime.samples import SampleReader
from workers.runtime.sessions import Stopped, TooManyParked, Turns
from workers.runtime.settle import Settler


class Admission:
    """Decides for each work of one service: dispatched, settled without computing, or requeued."""

    def __init__(
        self,
        service: Service[Any, Any],
        stores: Stores,
        policy: Policy,
        settler: Settler,
        requeue: Requeue,
        dispatcher: Dispatcher,
    ) -> None:
        self._stores, self._settler, self._requeue, self._dispatcher = stores, settler, requeue, dispatcher
        self._stateful = service.state_type is not None
        gap, parked = policy.gap_seconds, policy.parked
        self._turns = Turns(stores.sessions, service.name, gap_seconds=gap, most_parked=parked)
        self._samples = SampleReader(stores.blobs, policy.read_seconds)
        self._redelivered = metrics.REDELIVERED.labels(service.name)

    def stop(self) -> None:
        """Frames that wait for their turn go back to the queue."""
        self._turns.stop()

    def has_to_ask(self, work: Work, now: float) -> bool:
        """Whether the work cannot compute before `admit` has asked for something."""
        job = work.job
        if work.delivery.redelivered or now > job.deadline or job.blobs or job.samples:
            return True
        return self._stateful and job.turn is not None

    async def admit(self, work: Work) -> None:
        """Dispatch the work once it may compute, or settle it."""
        try:
            if await self._is_admissible(work):
                self._dispatcher.add([work])
        except Stopped:
            await self._requeue.uncounted([work])
        except TooManyParked:
            await self._requeue.to_the_end(work)
        except StoreAway:
            await self._requeue.after_pause(work)

    async def admit_unfinished(self, works: list[Work]) -> None:
        """Works that waited for long: those that were cancelled meanwhile need not be done."""
        try:
            finished = await self._stores.results.finished([work.job.id for work in works])
        except StoreAway:
            # the store's compare-and-set keeps a second result out anyway
            finished = [False] * len(works)
        admitted = []
        for work, ended in zip(works, finished, strict=True):
            if ended:
                self._settler.acknowledge_duplicate(work)
            else:
                admitted.append(work)
        self._dispatcher.add(admitted)

    async def _is_admissible(self, work: Work) -> bool:
        if not await self._is_in_time(work):
            return False
        if work.delivery.redelivered:
            self._redelivered.inc()
            if await self._is_finished(work):
                self._settler.acknowledge_duplicate(work)
                return False
        if not await self._fetch_blobs(work):
            return False
        if work.job.samples:
            work.samples = await self._samples.of(work.job)
        if not await self._turn_came(work):
            return False
        work.alone = work.delivery.redelivered
        return True

    async def _is_in_time(self, work: Work) -> bool:
        if time.time() <= work.job.deadline:
            return True
        await self._settler.fail(work, DeadlineExceeded())
        return False

    async def _is_finished(self, work: Work) -> bool:
        return (await self._stores.results.finished([work.job.id]))[0]

    async def _fetch_blobs(self, work: Work) -> bool:
        for reference, blob_id in work.job.blobs.items():
            data = await self._stores.blobs.get(*blob_place(work.job.tenant, blob_id))
            if data is None:
                await self._settler.fail(work, BlobGone(f"{reference} was deleted before the job ran"))
                return False
            work.files[reference] = data
        return True

    async def _turn_came(self, work: Work) -> bool:
        turn = work.job.turn
        if turn is None or not self._stateful:
            return True
        try:
            work.seen = await self._turns.wait(turn, partial(self._dispatcher.park, work))
        finally:
            await self._dispatcher.leave(work)
        if work.seen is not None:
            return await self._is_in_time(work)
        if await self._is_finished(work):
            self._settler.acknowledge_duplicate(work)
        else:
            await self._settler.fail(work, FrameSkipped())
        return False
