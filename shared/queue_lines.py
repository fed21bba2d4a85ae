"""The queues as operators see them: put together from what the broker and the workers tell."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from shared.facts import Observation, QueueFacts, WorkerFacts
from shared.jobs import queue_of
from shared.ports import DEAD_LETTERS
from shared.visits import VISITS

Source = Literal["broker", "workers"]
#: Rates between two computations that are further apart than this, in seconds, would say nothing about now.
_RATES_WITHIN = 60.0


@dataclass(frozen=True, slots=True)
class QueueLine:
    """A queue on the operators' page."""

    name: str
    facts: QueueFacts
    #: Who told what is in hand, the broker or the workers themselves.
    source: Source


@dataclass(frozen=True, slots=True)
class _Sample:
    """What rates are taken between."""

    #: When, on the monotonic clock.
    at: float
    #: The messages that wait, by queue, and what each worker has taken, by worker and queue.
    ready: Mapping[str, int]
    taken: Mapping[tuple[str, str], int]


class QueueLines:
    """Puts the lines together, and remembers between two times what rates are taken of."""

    def __init__(
        self,
        services: Iterable[tuple[str, int]],
        unserved: Callable[[str], float],
        longest_wait: float,
    ) -> None:
        """``services``: (name, version) of each.

        ``unserved``: seconds for which a queue has had messages and no consumer; ``longest_wait``: seconds
        that a job lives.
        """
        self._unserved, self._longest_wait = unserved, longest_wait
        self._served = tuple(queue_of(name, version) for name, version in services)
        #: The queues that there is a line of.
        self.names = (*self._served, VISITS, DEAD_LETTERS)
        self._former: _Sample | None = None

    def lines(
        self,
        observed: Observation,
        workers: Sequence[WorkerFacts] | None,
    ) -> tuple[QueueLine, ...]:
        """A line for each queue. ``workers``: None while nobody can tell of them."""
        every = [(worker.id, served) for worker in workers or () for served in worker.services]
        taken = {(worker, served.queue): served.taken for worker, served in every}
        ready = {name: facts.ready for name, facts in observed.queues.items()}
        sample = _Sample(time.monotonic(), ready, taken)
        former, self._former = self._former, sample if workers is not None else None
        lines = []
        for name in self.names:
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
        """Queues are in order, so while somebody consumes the oldest job is in a worker's hand.

        While nobody does it waits. A job lives until its deadline, so neither does its age grow beyond.
        """
        if facts.oldest_seconds is not None:
            return facts.oldest_seconds
        mine = [served for worker in workers for served in worker.services if served.queue == name]
        accepted = [served.oldest for served in mine if served.oldest is not None]
        in_hand = time.time() - min(accepted) if accepted else 0.0
        waiting = self._unserved(name) if facts.ready and not facts.consumers else 0.0
        return min(self._longest_wait, max(0.0, in_hand, waiting))


def _by_workers(name: str, facts: QueueFacts, workers: Sequence[WorkerFacts]) -> QueueFacts:
    in_hand = sum(served.in_hand for worker in workers for served in worker.services if served.queue == name)
    return replace(facts, unacknowledged=in_hand)


def _with_rates(name: str, facts: QueueFacts, now: _Sample, former: _Sample | None) -> QueueFacts:
    """What workers took since the time before; what was published is that and what waits more than it did."""
    if former is None or not 0 < now.at - former.at <= _RATES_WITHIN:
        return facts
    seconds = now.at - former.at
    known = [(key, count) for key, count in now.taken.items() if key[1] == name and key in former.taken]
    taken = sum(max(0, count - former.taken[key]) for key, count in known)
    grown = now.ready.get(name, 0) - former.ready.get(name, 0)
    return replace(facts, delivered_rate=taken / seconds, published_rate=max(0.0, (taken + grown) / seconds))
