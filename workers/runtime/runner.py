"""Accept, process, settle: how one service of a worker turns deliveries into results.

The policy, one row a line (`tests/contract/test_runner.py` has the same rows):

- undecodable                       -> dead letter
- finished already                  -> ack
- past its deadline                 -> `deadline_exceeded`
- a blob it needs is gone           -> `blob_gone`
- invalid input                     -> the error of the input
- the item answered with an error   -> that error; a passing one goes back to the queue after a pause, so many times
- `process` raised                  -> replayed alone, then `service_failed`
- answered                          -> state and `Done` stored, then ack
- a frame before its turn           -> parked until its predecessors are finished
- the process died                  -> the broker delivers again, alone; after so many attempts, dead letter
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any

from shared import metrics, trace
from shared.errors import BlobGone, DeadlineExceeded, FrameSkipped, StoreAway, Unavailable
from shared.events import Started
from shared.facts import ServedFacts
from shared.jobs import UndecodableJob, blob_place, decode_job, queue_of
from shared.log import get_logger
from shared.ports import Broker, Consumer, Delivery, Entry, Message, Stores
from workers.runtime.activity import Activity, Held
from workers.runtime.ahead import Ahead
from workers.runtime.batching import Pending, Work
from workers.runtime.compute import Computer
from workers.runtime.computing import Computing, Withdrawn
from workers.runtime.emitting import Emitter
from workers.runtime.policy import Policy
from workers.runtime.samples import SampleReader
from workers.runtime.sessions import Stopped, TooManyParked, Turns
from workers.runtime.settle import Settler
from workers.streaming import StreamingService

log = get_logger(__name__)


class Runner:
    """One service in one process, between its queue and the store."""

    def __init__(
        self, computer: Computer, broker: Broker, stores: Stores, policy: Policy, pool: Executor, on_stuck: Callable[[str], None]
    ) -> None:
        """``pool`` runs the model threads; ``on_stuck`` is called with the service when a batch outlasts its time."""
        service = computer.service
        self.name = service.name
        self.queue = queue_of(service.name, service.version)
        self._broker, self._stores, self._policy, self._pool, self._on_stuck = broker, stores, policy, pool, on_stuck
        self._activity = Activity(computer, policy.slots, policy.batch)
        self._stateful = service.state_type is not None
        self._streams = isinstance(service, StreamingService)
        self._turns = Turns(stores.sessions, self.name, gap_seconds=policy.gap_seconds, most_parked=policy.parked)
        self._ahead = Ahead(policy.slots)
        self._samples = SampleReader(stores.blobs, policy.read_seconds)
        self._settler = Settler(broker, stores, self.name, attempts=policy.attempts, retry_pause=policy.retry_pause)
        self._inbox: list[Held] = []
        self._pending = Pending()
        self._free = policy.slots
        self._computings: set[Computing] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._consumer: Consumer | None = None
        self._stopping = False
        self._meters = _Meters(self.name)

    async def start(self) -> None:
        """Begin to consume. Raises `BrokerAway`."""
        self._consumer = await self._broker.consume(self.queue, self._policy.prefetch, self._handle)
        log.info("worker.consuming", service=self.name, queue=self.queue, batch=self._policy.batch, slots=self._policy.slots)

    async def verify(self) -> None:
        """Raise `BrokerAway` unless the broker confirms that it delivers to this runner."""
        if self._consumer is not None:
            await self._consumer.verify()

    def tell(self) -> ServedFacts:
        """What this runner does, for operators."""
        return self._activity.tell()

    async def stop(self) -> None:
        """Take nothing more, finish what computes, give the rest back."""
        if self._consumer is not None:
            await self._consumer.stop()
        self._stopping = True
        for computing in list(self._computings):
            computing.withdraw()
        self._turns.stop()
        returned = self._pending.take(len(self._pending) or 1)
        while self._pending:
            returned += self._pending.take(len(self._pending))
        await self._give_back(returned)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self._policy.drain_seconds)
        log.info("worker.drained", service=self.name, unfinished=len(self._tasks))

    # Accepting

    def _handle(self, delivery: Delivery) -> None:
        """Called by the broker for each message; everything that arrives in one turn of the loop is one wave."""
        if not self._inbox:
            asyncio.get_running_loop().call_soon(self._accept)
        self._inbox.append(self._activity.hold(delivery))

    def _accept(self) -> None:
        wave, self._inbox = self._inbox, []
        now = time.time()
        waited: list[Work] = []
        for delivery in wave:
            try:
                work = Work(delivery, decode_job(delivery.body), now, counted=not delivery.redelivered)
            except UndecodableJob as error:
                log.error("job.undecodable", service=self.name, error=str(error))
                delivery.reject(requeue=False)
                continue
            job = work.job
            delivery.accepted = job.created
            self._meters.accepted(now - job.created)
            trace.record("queue", job.created, now, job.trace, service=self.name)
            if delivery.redelivered or now > job.deadline or job.blobs or job.samples or (self._stateful and job.turn is not None):
                self._spawn(self._admit(work))
            elif now - job.created > self._policy.check_after:
                waited.append(work)
            else:
                self._pending.add(work)
        if waited:
            self._spawn(self._admit_unfinished(waited))
        self._dispatch()

    async def _admit_unfinished(self, works: list[Work]) -> None:
        """Works that waited for long: those that were cancelled meanwhile need not be done."""
        try:
            finished = await self._stores.results.finished([work.job.id for work in works])
        except StoreAway:
            finished = [False] * len(works)  # the store's compare-and-set keeps a second result out anyway
        for work, ended in zip(works, finished, strict=True):
            if ended:
                self._settler.acknowledge_duplicate(work)
            else:
                self._pending.add(work)
        self._dispatch()

    async def _admit(self, work: Work) -> None:
        """Everything that may have to be asked before a work can compute."""
        try:
            if await self._is_admissible(work):
                self._pending.add(work)
                self._dispatch()
        except Stopped:
            await self._give_back([work])
        except TooManyParked:
            await asyncio.sleep(self._policy.parked_pause)
            await self._to_the_end_of_the_queue(work)
        except StoreAway:
            await asyncio.sleep(self._policy.retry_pause)
            work.delivery.reject(requeue=True)

    async def _to_the_end_of_the_queue(self, work: Work) -> None:
        """A message given back comes back first; what this frame waits for may be behind it, so it is sent again instead."""
        job = work.job
        message = Message(self.queue, work.delivery.body, job.id, max(0.0, job.deadline - time.time()))
        try:
            await self._broker.publish(message)
        except Unavailable:
            work.delivery.reject(requeue=True)
        else:
            work.delivery.ack()

    async def _is_admissible(self, work: Work) -> bool:
        job = work.job
        if not await self._is_in_time(work):
            return False
        if work.delivery.redelivered:
            self._meters.redelivered.inc()
            if (await self._stores.results.finished([job.id]))[0]:
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
            on_park = partial(self._prepare_meanwhile, work) if self._activity.has_ahead(work) else None
            work.seen = await self._turns.wait(turn, on_park)
        finally:
            await self._ahead.leave(work)
        if work.seen is not None:
            return await self._is_in_time(work)
        if (await self._stores.results.finished([work.job.id]))[0]:
            self._settler.acknowledge_duplicate(work)
        else:
            await self._settler.fail(work, FrameSkipped())
        return False

    # Computing and settling

    def _dispatch(self) -> None:
        while self._pending and (self._free > 0 or self._has_next()):
            if self._stopping:
                self._spawn(self._give_back(self._pending.take(len(self._pending))))
                continue
            share = math.ceil(len(self._pending) / max(1, self._free))  # a full batch in one thread must not leave the others idle
            self._free -= 1
            self._spawn(self._run(self._pending.take(min(self._policy.batch, share))))
        while self._free > 0 and not self._stopping and (work := self._ahead.next()) is not None:
            self._free -= 1
            self._spawn(self._prepare(work))

    def _has_next(self) -> bool:
        """Whether a full batch is to wait in the threads' queue: a thread that is done takes it without waiting for the event loop.

        Not a suspect: its attempt is counted, and it would count for nothing when the one before it kills the worker.
        """
        return self._free > -self._policy.slots and len(self._pending) >= self._policy.batch and not self._pending.suspect

    def _prepare_meanwhile(self, work: Work) -> None:
        self._ahead.add(work)
        self._dispatch()

    async def _prepare(self, work: Work) -> None:
        try:
            with Computing() as computing:
                computing.unless_progress(self._policy.process_seconds, self._is_stuck)
                seconds = await computing.run(self._pool, self._activity.prepare, work)
        finally:
            self._free += 1
            self._ahead.prepared(work)
        self._activity.computed(0, seconds)
        self._dispatch()

    async def _run(self, batch: list[Work]) -> None:
        if batch[0].alone and not await self._may_try(batch[0]):
            self._free += 1
            self._dispatch()
            return
        try:
            with self._computing(batch) as computing:
                emitter = Emitter(self._stores.results, computing.progressed) if self._streams else None
                outcomes, seconds = await computing.run(self._pool, partial(self._activity.compute, emitter=emitter), batch)
        except Withdrawn:
            await self._give_back(batch)
            return
        finally:
            self._free += 1
        self._activity.computed(len(batch), seconds)
        self._meters.computed(batch, seconds)
        self._dispatch()
        for work in await self._settler.settle(batch, outcomes):
            self._spawn(self._admit(work))

    @contextmanager
    def _computing(self, batch: list[Work]) -> Iterator[Computing]:
        with Computing() as computing:
            computing.unless_progress(self._policy.process_seconds, self._is_stuck)
            computing.after(self._policy.announce_after, partial(self._announce, batch))
            self._computings.add(computing)
            try:
                yield computing
            finally:
                self._computings.discard(computing)

    async def _may_try(self, work: Work) -> bool:
        """Count the attempt just before computing: who only waited beside a job that killed the worker has not tried."""
        try:
            work.attempt = 1 + await self._stores.results.count_attempt(work.job.id)
            work.counted = True
        except StoreAway:
            await asyncio.sleep(self._policy.retry_pause)
            work.delivery.reject(requeue=True)
            return False
        if work.attempt > self._policy.attempts:
            log.error("job.gave_up", service=self.name, job=work.job.id, attempts=work.attempt - 1)
            work.delivery.reject(requeue=False)
            return False
        return True

    def _is_stuck(self) -> None:
        self._on_stuck(self.name)

    def _announce(self, batch: list[Work]) -> None:
        self._spawn(self._append_started(batch))

    async def _append_started(self, batch: list[Work]) -> None:
        now = time.time()
        try:
            await self._stores.results.append([Entry(work.job.id, Started(now, work.attempt)) for work in batch])
        except StoreAway:
            log.warning("store.away", service=self.name, works=len(batch))

    async def _give_back(self, works: list[Work]) -> None:
        """Back to the queue, without counting as an attempt: nobody computed."""
        for work in works:
            if work.counted:
                try:
                    await self._stores.results.count_attempt(work.job.id, -1)
                except StoreAway:
                    log.warning("store.away", service=self.name, works=1)
            work.delivery.reject(requeue=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            # a fault of the house: its deliveries are unsettled, and only the broker can give them to somebody else
            log.error("runner.failed", service=self.name, exc_info=task.exception())
            self._on_stuck(self.name)


class _Meters:
    """The runner's metrics with their labels filled in once: `labels()` costs more than counting."""

    def __init__(self, service: str) -> None:
        self.redelivered = metrics.REDELIVERED.labels(service)
        self._queue = metrics.QUEUE_SECONDS.labels(service)
        self._batch = metrics.BATCH_SECONDS.labels(service)
        self._compute = metrics.COMPUTE_SECONDS.labels(service)
        self._items = metrics.BATCH_ITEMS.labels(service)

    def accepted(self, waited: float) -> None:
        self._queue.observe(max(0.0, waited))

    def computed(self, batch: list[Work], seconds: float) -> None:
        begin = time.time() - seconds
        self._compute.observe(seconds)
        self._items.observe(len(batch))
        self._batch.observe(max(0.0, begin - batch[0].received))
