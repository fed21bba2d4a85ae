"""What one service of this process is doing, counted as it does it, for those who watch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import count
from typing import Any

from shared import metrics, trace
from shared.facts import ServedFacts
from shared.jobs import queue_of
from shared.ports import Delivery
from shared.rates import Rate
from workers.runtime.batching import Work
from workers.runtime.compute import Computer, Outcome
from workers.runtime.emitting import Emitter


class Held:
    """A delivery in hand (`shared.ports.Delivery`) that says when it is settled. ``accepted``: when its job was, seconds since 1970."""

    __slots__ = ("_activity", "_delivery", "accepted", "body", "redelivered")

    def __init__(self, activity: Activity, delivery: Delivery) -> None:
        self._activity = activity
        self._delivery = delivery
        self.accepted: float | None = None
        self.body = delivery.body
        self.redelivered = delivery.redelivered

    @property
    def reason(self) -> str | None:
        return self._delivery.reason

    def ack(self) -> None:
        self._activity.let_go(self)
        self._delivery.ack()

    def reject(self, *, requeue: bool) -> None:
        self._activity.let_go(self)
        self._delivery.reject(requeue=requeue)


class Activity:
    """The counts of one service. Computing is measured in the model thread, so that waiting for one is not taken for it."""

    def __init__(self, computer: Computer, threads: int, batch: int) -> None:
        """``threads``: that the services of this process share; ``batch``: most items computed at a time."""
        service = computer.service
        self._computer, self._threads, self._batch = computer, threads, batch
        self._name, self._version = service.name, service.version
        self._models = tuple(model["name"] for model in computer.facts.get("models", ()))
        self._stand_ins: dict[str, str] = dict(computer.facts.get("stand_ins", {}))
        self._busy_seconds = metrics.BUSY_SECONDS.labels(self._name)
        self._running: dict[int, float] = {}
        self._numbers = count()
        self._busy = 0.0
        self._done = 0
        self._taken = 0
        self._held: dict[int, Held] = {}
        self._told = (time.perf_counter(), 0.0)
        self._rate = Rate()

    def hold(self, delivery: Delivery) -> Held:
        """The delivery, in hand from now on."""
        self._taken += 1
        held = Held(self, delivery)
        self._held[id(held)] = held
        return held

    def let_go(self, held: Held) -> None:
        self._held.pop(id(held), None)

    def compute(self, works: Sequence[Work], emitter: Emitter | None = None) -> tuple[list[Outcome], float]:
        """Run a batch and measure it, in seconds. Called in model threads; what it writes is written in one step each.

        ``emitter`` takes the pieces of streamed answers.
        """
        number, begin = next(self._numbers), time.perf_counter()
        self._running[number] = begin
        try:
            with self._span(works):
                outcomes = self._computer.run(works, emitter)
            return outcomes, time.perf_counter() - begin
        finally:
            self._running.pop(number, None)

    def has_ahead(self, work: Work) -> bool:
        return self._computer.has_ahead(work)

    def prepare(self, work: Work) -> float:
        """Prepare a frame ahead of its turn and measure it, in seconds. Called in model threads."""
        number, begin = next(self._numbers), time.perf_counter()
        self._running[number] = begin
        try:
            self._computer.prepare(work)
            return time.perf_counter() - begin
        finally:
            self._running.pop(number, None)

    def _span(self, works: Sequence[Work]) -> AbstractContextManager[Any]:
        """A batch belongs to the trace of its first job, and is linked to those of the others."""
        traces = [work.job.trace for work in works if work.job.trace is not None]
        if not traces:
            return nullcontext()
        return trace.span(
            "batch", traces[0], traces[1:], service=self._name, items=len(works), job=works[0].job.id, attempt=works[0].attempt
        )

    def computed(self, items: int, seconds: float) -> None:
        """A batch is done; called in the event loop."""
        self._done += items
        self._rate.count(items)
        self._busy += seconds
        self._busy_seconds.inc(seconds)

    def tell(self) -> ServedFacts:
        """What is so now; ``busy`` is since it was told before."""
        now = time.perf_counter()
        # A batch that is between a thread and the loop is in neither sum: the next telling has it.
        busy = self._busy + sum(now - begin for begin in list(self._running.values()))
        (before, busy_before), self._told = self._told, (now, busy)
        share = (busy - busy_before) / max(1e-9, (now - before) * self._threads)
        oldest = min((held.accepted for held in self._held.values() if held.accepted is not None), default=None)
        return ServedFacts(
            service=self._name,
            version=self._version,
            queue=queue_of(self._name, self._version),
            models=self._models,
            batch=self._batch,
            busy=round(min(1.0, max(0.0, share)), 4),
            done=self._done,
            taken=self._taken,
            in_hand=len(self._held),
            oldest=oldest,
            rate=round(self._rate.per_second, 3),
            stand_ins=self._stand_ins,
            details=self._computer.service.announced(),
        )
