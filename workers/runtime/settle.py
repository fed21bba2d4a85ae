"""The end of a delivery: its outcome is stored, then it is acknowledged, once, on every path."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from shared import metrics, trace
from shared.errors import PerceptionError
from shared.events import Done, Event, Failed
from shared.ports import Broker, Entry, Stores
from workers.runtime.acknowledge import Acknowledger
from workers.runtime.batching import Work
from workers.runtime.compute import Outcome
from workers.runtime.policy import Policy
from workers.runtime.requeue import Requeue
from workers.runtime.retries import with_retries
from workers.runtime.visits import VisitPublisher

T = TypeVar("T")


class Settler:
    """Stores the outcomes of one service's works and settles their deliveries."""

    def __init__(
        self,
        broker: Broker,
        stores: Stores,
        service: str,
        policy: Policy,
        requeue: Requeue,
    ) -> None:
        self._stores, self._service, self._requeue = stores, service, requeue
        #: How often a passing error is tried.
        self._attempts = policy.attempts
        self._visits = VisitPublisher(broker, service)
        self._acknowledger = Acknowledger(stores.blobs, service)
        self._seconds = metrics.SETTLE_SECONDS.labels(service)

    async def settle(self, works: Sequence[Work], outcomes: Sequence[Outcome]) -> list[Work]:
        """Settle each work by its outcome.

        Returns the works whose session had changed: their turn is asked for again.
        """
        begin, began = time.perf_counter(), time.time()
        plain: list[tuple[Work, Event]] = []
        turns: list[tuple[Work, Outcome]] = []
        returned: list[Awaitable[None]] = []
        unpublished = await self._publish_visits(works, outcomes)
        for work, outcome in zip(works, outcomes, strict=True):
            if work.job.id in unpublished:
                returned.append(self._requeue.later_uncounted(work, unpublished[work.job.id]))
            elif outcome.event is None or (outcome.retry is not None and work.attempt < self._attempts):
                self._requeue.later(work, outcome.retry)
            elif work.job.turn is not None and work.seen is not None:
                turns.append((work, outcome))
            else:
                plain.append((work, outcome.event))
        await self._append(plain)
        # one round trip for all sessions
        saved = await asyncio.gather(*(self._save(work, outcome) for work, outcome in turns))
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
            return
        entry = Entry(work.job.id, event)
        if await self._with_retries([work], lambda: self._stores.sessions.save(turn, None, None, entry)):
            self._acknowledger.ended(work, event, stored=True)

    def acknowledge_duplicate(self, work: Work) -> None:
        """The job had ended already: somebody else's result stands."""
        self._acknowledger.duplicate(work)

    async def _publish_visits(
        self,
        works: Sequence[Work],
        outcomes: Sequence[Outcome],
    ) -> dict[str, PerceptionError]:
        pairs = zip(works, outcomes, strict=True)
        return await self._visits.publish([(work, outcome) for work, outcome in pairs if outcome.visits])

    async def _append(self, ended: Sequence[tuple[Work, Event]]) -> None:
        if not ended:
            return
        entries = [Entry(work.job.id, event) for work, event in ended]
        works = [work for work, _ in ended]
        stored = await self._with_retries(works, lambda: self._stores.results.append(entries))
        for (work, event), written in zip(ended, stored or (), strict=False):
            self._acknowledger.ended(work, event, stored=written)

    async def _save(self, work: Work, outcome: Outcome) -> bool:
        """False when the session was no longer as the work had seen it."""
        turn, event = work.job.turn, outcome.event
        assert turn is not None and event is not None  # noqa: S101, PT018 - `settle` chose by them
        seen = work.seen if isinstance(event, Done) else None
        entry = Entry(work.job.id, event)
        store = self._stores.sessions.save
        saved = await self._with_retries([work], lambda: store(turn, seen, outcome.state, entry))
        if saved:
            self._acknowledger.ended(work, event, stored=True)
        return saved is not False

    async def _with_retries(self, works: Sequence[Work], store: Callable[[], Awaitable[T]]) -> T | None:
        return await with_retries(self._service, works, store)
