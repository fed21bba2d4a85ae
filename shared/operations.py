"""The running system as operators see it: put together from what the broker, the workers and the store tell.

One computation a process, however many look: facts that are young enough are given again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

from shared import metrics
from shared.aio import TtlCache
from shared.dead_letters import DeadLetters
from shared.errors import Unavailable
from shared.facts import DeadLetter, Observation, QueueFacts, ServedFacts, WorkerFacts
from shared.jobs import EXPIRY_SLACK, queue_of
from shared.ports import DEAD_LETTERS, Broker, Stores
from shared.settings import Settings
from shared.visits import VISITS

T = TypeVar("T")
Source = Literal["broker", "workers"]
#: How many of the dead letters are among the facts; more are asked for page by page.
LATEST = 10
#: Rates between two computations that are further apart than this, in seconds, would say nothing about now.
_RATES_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue on the operators' page. ``source``: who told what is in hand, the broker or the workers themselves."""

    name: str
    facts: QueueFacts
    source: Source


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


@dataclass(frozen=True, slots=True)
class _Sample:
    """What rates are taken between: when (monotonic), the messages that wait, and what each worker has taken, by queue."""

    at: float
    ready: Mapping[str, int]
    taken: Mapping[tuple[str, str], int]


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
        self._broker, self._stores, self._unserved = broker, stores, unserved
        self.dead_letters = DeadLetters(settings, broker, stores)
        self._facts: TtlCache[None, Facts] = TtlCache(settings.facts_seconds, clock=time.monotonic)
        self._longest_wait = settings.deadline_seconds + EXPIRY_SLACK
        self._served = tuple(queue_of(name, version) for name, version in services)
        self._queues = (*self._served, VISITS, DEAD_LETTERS)
        self._former: _Sample | None = None

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
            _or_fault(self._broker.observe(self._queues), faults),
            _or_fault(self._stores.workers.workers(), faults),
            _or_fault(self._stores.census.alive(), faults),
            _or_fault(self.dead_letters.listed(0, LATEST), faults),
        )
        return Facts(
            at=time.time(),
            queues=None if observed is None else self._lines(observed, workers),
            workers=None if workers is None else tuple(workers),
            sessions=sessions,
            dead_letters=None if letters is None else letters[0],
            letters=() if letters is None else tuple(letters[1]),
            faults=tuple(dict.fromkeys(faults)),
            gap=None if observed is None else observed.gap,
        )

    def _lines(self, observed: Observation, workers: Sequence[WorkerFacts] | None) -> tuple[QueueLine, ...]:
        taken = {(worker.id, served.queue): served.taken for worker in workers or () for served in worker.services}
        sample = _Sample(time.monotonic(), {name: facts.ready for name, facts in observed.queues.items()}, taken)
        former, self._former = self._former, sample if workers is not None else None
        lines = []
        for name in self._queues:
            facts = observed.queues.get(name, QueueFacts(unacknowledged=0))
            oldest = self._oldest(name, facts, workers or ())
            source: Source = "broker"
            if workers is not None and name in self._served:
                if facts.unacknowledged is None:
                    source, facts = "workers", _by_workers(name, facts, workers)
                if facts.delivered_rate is None:
                    facts = _with_rates(name, facts, sample, former)
            lines.append(QueueLine(name, replace(facts, oldest_seconds=oldest), source))
        return tuple(lines)

    def _oldest(self, name: str, facts: QueueFacts, workers: Sequence[WorkerFacts]) -> float:
        """Queues are in order, so while somebody consumes the oldest job is in a worker's hand; while nobody does it waits.

        A job lives no longer than its deadline, so neither does its age grow beyond.
        """
        if facts.oldest_seconds is not None:
            return facts.oldest_seconds
        accepted = [each.oldest for worker in workers for each in worker.services if each.queue == name and each.oldest is not None]
        in_hand = time.time() - min(accepted) if accepted else 0.0
        waiting = self._unserved(name) if facts.ready and not facts.consumers else 0.0
        return min(self._longest_wait, max(0.0, in_hand, waiting))


def _by_workers(name: str, facts: QueueFacts, workers: Sequence[WorkerFacts]) -> QueueFacts:
    in_hand = sum(served.in_hand for worker in workers for served in worker.services if served.queue == name)
    return replace(facts, unacknowledged=in_hand)


def _with_rates(name: str, facts: QueueFacts, now: _Sample, former: _Sample | None) -> QueueFacts:
    """What workers took since the computation before; what was published is that and what waits more than it did."""
    if former is None or not 0 < now.at - former.at <= _RATES_WITHIN:
        return facts
    seconds = now.at - former.at
    taken = sum(max(0, count - former.taken[key]) for key, count in now.taken.items() if key[1] == name and key in former.taken)
    grown = now.ready.get(name, 0) - former.ready.get(name, 0)
    return replace(facts, delivered_rate=taken / seconds, published_rate=max(0.0, (taken + grown) / seconds))


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
