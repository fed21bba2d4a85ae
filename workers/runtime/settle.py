"""The end of a delivery: its outcome is stored, then it is acknowledged, once, on every path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, TypeVar

from shared import metrics, trace
from shared.errors import PerceptionError, StoreAway
from shared.events import Done, Event, Failed
from shared.jobs import blob_place, is_job_file
from shared.log import get_logger
from shared.ports import Broker, Entry, Message, Stores
from shared.visits import VISITS
from workers.runtime.batching import Work
from workers.runtime.compute import Outcome

log = get_logger(__name__)
T = TypeVar("T")

#: Pauses between tries to store a result, in seconds; a store that stays away longer sends the job back to the queue.
_STORE_PAUSES = (0.1, 0.3, 1.0, 2.0, 4.0, 8.0)


class Settler:
    """Stores the outcomes of one service's works and settles their deliveries."""

    def __init__(self, broker: Broker, stores: Stores, service: str, *, attempts: int, retry_pause: float) -> None:
        """``attempts``: how often a passing error is tried; ``retry_pause`` (seconds) before the job goes back."""
        self._broker = broker
        self._stores = stores
        self._service = service
        self._attempts = attempts
        self._retry_pause = retry_pause
        self._seconds = metrics.SETTLE_SECONDS.labels(service)
        self._duplicates = metrics.DUPLICATES.labels(service)
        self._outcomes: dict[str, Any] = {}
        self._deletions: set[asyncio.Task[bool]] = set()

    async def settle(self, works: Sequence[Work], outcomes: Sequence[Outcome]) -> list[Work]:
        """Settle each work by its outcome. Returns the works whose session had changed: their turn is asked for again."""
        begin, began = time.perf_counter(), time.time()
        plain: list[tuple[Work, Event]] = []
        turns: list[tuple[Work, Outcome]] = []
        returned: list[Awaitable[None]] = []
        unkept = await self._keep_visits([pair for pair in zip(works, outcomes, strict=True) if pair[1].visits])
        for work, outcome in zip(works, outcomes, strict=True):
            if work.job.id in unkept:
                returned.append(self._return_unkept(work, unkept[work.job.id]))
            elif outcome.event is None or (outcome.retry is not None and work.attempt < self._attempts):
                self._return_later(work, outcome.retry)
            elif work.job.turn is not None and work.seen is not None:
                turns.append((work, outcome))
            else:
                plain.append((work, outcome.event))
        await self._append(plain)
        saved = await asyncio.gather(*(self._save(work, outcome) for work, outcome in turns))  # one round trip for all sessions
        await asyncio.gather(*returned)
        refused = [work for (work, _), ended in zip(turns, saved, strict=True) if not ended]
        self._seconds.observe(time.perf_counter() - begin)
        for work in works:
            trace.record("settle", began, time.time(), work.job.trace, service=self._service)
        return refused

    async def fail(self, work: Work, error: PerceptionError) -> None:
        """End a work that never reached the service."""
        event = Failed.of(error, time.time())
        turn = work.job.turn
        if turn is None:
            await self._append([(work, event)])
        elif await self._patiently(work, lambda: self._stores.sessions.save(turn, None, None, Entry(work.job.id, event))):
            self._finish(work, event, stored=True)

    def acknowledge_duplicate(self, work: Work) -> None:
        """The job had ended already: somebody else's result stands."""
        self._duplicates.inc()
        work.delivery.ack()

    async def _keep_visits(self, brought: Sequence[tuple[Work, Outcome]]) -> dict[str, PerceptionError]:
        """Hand the visits to the recorder's queue: before the result is stored, since afterwards nobody would do it again.

        So a frame that is computed twice may send them twice, and the recorder writes each visit by its id. Returns the jobs,
        by id, whose visits could not be handed over, and why.
        """
        messages = [
            (work.job.id, Message(VISITS, visit.encode(work.job.tenant), visit.id, makes_queue=True))
            for work, outcome in brought
            for visit in outcome.visits
        ]
        published = await asyncio.gather(*(self._publish(message) for _, message in messages), return_exceptions=True)
        unkept: dict[str, PerceptionError] = {}
        for (job_id, _), result in zip(messages, published, strict=True):
            if isinstance(result, PerceptionError):
                log.error("visits.not_kept", service=self._service, job=job_id, code=result.code)
                unkept[job_id] = result
            elif isinstance(result, BaseException):
                raise result
        return unkept

    async def _publish(self, message: Message) -> None:
        begin = time.perf_counter()
        await self._broker.publish(message)
        metrics.PUBLISH_SECONDS.observe(time.perf_counter() - begin)

    async def _append(self, ended: Sequence[tuple[Work, Event]]) -> None:
        if not ended:
            return
        entries = [Entry(work.job.id, event) for work, event in ended]
        works = [work for work, _ in ended]
        stored = await self._patiently_all(works, lambda: self._stores.results.append(entries))
        for (work, event), written in zip(ended, stored or (), strict=False):
            self._finish(work, event, stored=written)

    async def _save(self, work: Work, outcome: Outcome) -> bool:
        """False when the session was no longer as the work had seen it."""
        turn, event = work.job.turn, outcome.event
        assert turn is not None and event is not None  # noqa: S101, PT018 - `settle` chose by them
        seen = work.seen if isinstance(event, Done) else None
        entry = Entry(work.job.id, event)
        saved = await self._patiently(work, lambda: self._stores.sessions.save(turn, seen, outcome.state, entry))
        if saved:
            self._finish(work, event, stored=True)
        return saved is not False

    async def _patiently(self, work: Work, store: Callable[[], Awaitable[T]]) -> T | None:
        return await self._patiently_all([work], store)

    async def _patiently_all(self, works: Sequence[Work], store: Callable[[], Awaitable[T]]) -> T | None:
        """What ``store`` returns, tried for a while; None after the deliveries went back because the store stayed away."""
        for pause in (*_STORE_PAUSES, None):
            try:
                return await store()
            except StoreAway as error:
                log.warning("store.away", service=self._service, error=error.message, works=len(works))
                if pause is not None:
                    await asyncio.sleep(pause)
        for work in works:
            work.delivery.reject(requeue=True)
        return None

    def _finish(self, work: Work, event: Event, *, stored: bool) -> None:
        if not stored:
            self.acknowledge_duplicate(work)
            return
        outcome = event.code if isinstance(event, Failed) else "done"
        counter = self._outcomes.get(outcome)
        if counter is None:
            counter = self._outcomes[outcome] = metrics.FINISHED.labels(self._service, outcome)
        counter.inc()
        work.delivery.ack()
        self._drop_files(work)

    def _drop_files(self, work: Work) -> None:
        """What was stored for this job alone ends with it."""
        for blob_id in filter(is_job_file, work.job.blobs.values()):
            self._spawn(self._stores.blobs.delete(*blob_place(work.job.tenant, blob_id)))

    def _spawn(self, deletion: Coroutine[Any, Any, bool]) -> None:
        task = asyncio.get_running_loop().create_task(deletion)
        self._deletions.add(task)
        task.add_done_callback(self._deleted)

    def _deleted(self, task: asyncio.Task[bool]) -> None:
        self._deletions.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("job.file_left", service=self._service)  # it expires by itself

    async def _return_unkept(self, work: Work, error: PerceptionError) -> None:
        """Give back a work whose visits could not be handed over. It is no attempt: the worker did its part, and a job that was
        given up for a queue of visits that takes none would take its visits with it."""
        if work.counted:
            try:
                await self._stores.results.count_attempt(work.job.id, -1)
            except StoreAway:
                log.warning("store.away", service=self._service, works=1)
        self._return_later(work, error)

    def _return_later(self, work: Work, error: PerceptionError | None) -> None:
        pause = self._retry_pause if error is None or error.retry_after is None else error.retry_after
        log.info("job.retried", service=self._service, job=work.job.id, attempt=work.attempt, code=error.code if error else None)
        asyncio.get_running_loop().call_later(pause, lambda: work.delivery.reject(requeue=True))
