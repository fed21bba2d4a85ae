"""The running system as operators see it: put together from what the broker, the workers and the store tell.

One computation a process, however many look: facts that are young enough are given again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

from shared import metrics
from shared.aio import TtlCache
from shared.dead_letters import DeadLetters
from shared.errors import Unavailable
from shared.facts import DeadLetter, ServedFacts, WorkerFacts
from shared.jobs import EXPIRY_SLACK
from shared.ports import Broker, Stores
from shared.queue_lines import QueueLine, QueueLines
from shared.settings import Settings

T = TypeVar("T")
#: How many of the dead letters are among the facts; more are asked for page by page.
LATEST = 10


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything at one moment (``at``, seconds since 1970).

    ``queues``, ``workers``, ``sessions`` (alive, by service and version) and ``dead_letters`` (how many are kept) are None while what
    tells of them is away; ``faults`` says so. ``letters`` are the latest of the dead letters, each with why it cannot be put back into
    its queue. ``gap``: what the broker does not tell, and what would mend that.
    """

    at: float
    queues: tuple[QueueLine, ...] | None
    workers: tuple[WorkerFacts, ...] | None
    sessions: Mapping[tuple[str, int], int] | None
    dead_letters: int | None
    letters: tuple[tuple[DeadLetter, str | None], ...] = ()
    faults: tuple[str, ...] = ()
    gap: str | None = None


class Operations:
    """The facts of a running system, and their metrics. ``dead_letters``: what can be done with those that are listed."""

    def __init__(
        self,
        settings: Settings,
        broker: Broker,
        stores: Stores,
        services: Iterable[tuple[str, int]],
        unserved: Callable[[str], float] = lambda _: 0.0,
    ) -> None:
        """``services``: (name, version) of each; ``unserved``: seconds for which a queue has had messages and no consumer."""
        self._broker, self._stores = broker, stores
        self.dead_letters = DeadLetters(settings, broker, stores)
        self._facts: TtlCache[None, Facts] = TtlCache(settings.facts_seconds, clock=time.monotonic)
        self._queues = QueueLines(services, unserved, settings.deadline_seconds + EXPIRY_SLACK)

    async def facts(self) -> Facts:
        """What is so now, or was a moment ago. Never raises: what is away is among the faults."""
        return await self._facts.load(None, self._compute)

    def forget(self) -> None:
        """Something was changed: whoever looks next shall see it."""
        self._facts.clear()

    async def export(self) -> None:
        """Set the metrics to the facts of now."""
        export(await self.facts())

    async def _compute(self) -> Facts:
        faults: list[str] = []
        observed, workers, sessions, letters = await asyncio.gather(
            _or_fault(self._broker.observe(self._queues.names), faults),
            _or_fault(self._stores.workers.workers(), faults),
            _or_fault(self._stores.census.alive(), faults),
            _or_fault(self.dead_letters.listed(0, LATEST), faults),
        )
        return Facts(
            at=time.time(),
            queues=None if observed is None else self._queues.lines(observed, workers),
            workers=None if workers is None else tuple(workers),
            sessions=sessions,
            dead_letters=None if letters is None else letters[0],
            letters=() if letters is None else tuple(letters[1]),
            faults=tuple(dict.fromkeys(faults)),
            gap=None if observed is None else observed.gap,
        )


async def _or_fault(answer: Awaitable[T], faults: list[str]) -> T | None:
    try:
        return await answer
    except Unavailable as error:
        faults.append(error.message)
        return None


def models_of(served: ServedFacts) -> Iterator[tuple[str, str]]:
    """Each model of a service with the name of the preferred one that it stands in for, or "" when it is a preferred one itself.

    One that stands in for several comes once for each. A preferred model that nothing stands in for gives
    ("", its name).
    """
    for model in served.models:
        instead = [preferred for preferred, stand_in in served.stand_ins.items() if stand_in == model]
        for preferred in instead or [""]:
            yield model, preferred
    for preferred, stand_in in served.stand_ins.items():
        if not stand_in:
            yield "", preferred


def export(facts: Facts) -> None:
    """Facts as metrics. What is not known has no value: a number that stays what it was would say that all is well."""
    for gauge in (metrics.QUEUE_READY, metrics.QUEUE_UNACKNOWLEDGED, metrics.QUEUE_CONSUMERS, metrics.QUEUE_OLDEST_SECONDS):
        gauge.clear()
    for line in facts.queues or ():
        metrics.QUEUE_READY.labels(line.name).set(line.facts.ready)
        metrics.QUEUE_CONSUMERS.labels(line.name).set(line.facts.consumers)
        metrics.QUEUE_OLDEST_SECONDS.labels(line.name).set(line.facts.oldest_seconds or 0.0)
        if line.facts.unacknowledged is not None:
            metrics.QUEUE_UNACKNOWLEDGED.labels(line.name).set(line.facts.unacknowledged)
    metrics.WORKERS.clear()
    metrics.WORKER_MODELS.clear()
    for worker in facts.workers or ():
        for served in worker.services:
            metrics.WORKERS.labels(served.service, worker.device).inc()
            for model, preferred in models_of(served):
                metrics.WORKER_MODELS.labels(served.service, model, preferred).inc()
    metrics.SESSIONS_ALIVE.clear()
    for (service, _), count in (facts.sessions or {}).items():
        metrics.SESSIONS_ALIVE.labels(service).inc(count)
    metrics.DEAD_LETTERS_KEPT.set(float("nan") if facts.dead_letters is None else facts.dead_letters)
