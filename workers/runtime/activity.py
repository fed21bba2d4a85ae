"""What one service of this process is doing, counted as it does it, for those who watch."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from shared import trace
from shared.facts import ServedFacts
from shared.jobs import queue_of
from shared.ports import Delivery
from shared.rates import Rate
from workers.runtime.batching import Work
from workers.runtime.busy import BusyTime
from workers.runtime.compute import Computer, Outcome
from workers.runtime.emitting import Emitter
from workers.runtime.in_hand import Held, InHand


class Activity:
    """The counts of one service."""

    def __init__(self, computer: Computer, threads: int, batch: int) -> None:
        """``threads``: that the services of this process share; ``batch``: most items computed at a time."""
        self._computer, self._batch = computer, batch
        self._in_hand = InHand()
        self._busy = BusyTime(computer.service.name, threads)
        #: Items that were computed, and how many of them a second.
        self._done = 0
        self._rate = Rate()

    def hold(self, delivery: Delivery) -> Held:
        """The delivery, in hand from now on."""
        return self._in_hand.hold(delivery)

    def compute(self, works: Sequence[Work], emitter: Emitter | None = None) -> tuple[list[Outcome], float]:
        """Run a batch and measure it, in seconds. Called in model threads.

        ``emitter`` takes the pieces of streamed answers.
        """
        return self._busy.measured(partial(self._run, works, emitter))

    def has_ahead(self, work: Work) -> bool:
        return self._computer.has_ahead(work)

    def prepare(self, work: Work) -> float:
        """Prepare a frame ahead of its turn and measure it, in seconds. Called in model threads."""
        _, seconds = self._busy.measured(partial(self._computer.prepare, work))
        return seconds

    def _run(self, works: Sequence[Work], emitter: Emitter | None) -> list[Outcome]:
        with self._span(works):
            return self._computer.run(works, emitter)

    def _span(self, works: Sequence[Work]) -> AbstractContextManager[Any]:
        """A batch belongs to the trace of its first job, and is linked to those of the others."""
        traces = [work.job.trace for work in works if work.job.trace is not None]
        if not traces:
            return nullcontext()
        return trace.span(
            "batch",
            traces[0],
            traces[1:],
            service=self._computer.service.name,
            items=len(works),
            job=works[0].job.id,
            attempt=works[0].attempt,
        )

    def computed(self, items: int, seconds: float) -> None:
        """A batch is done; called in the event loop."""
        self._done += items
        self._rate.count(items)
        self._busy.add(seconds)

    def tell(self) -> ServedFacts:
        """What is so now; ``busy`` is since it was told before."""
        service, facts = self._computer.service, self._computer.facts
        return ServedFacts(
            service=service.name,
            version=service.version,
            queue=queue_of(service.name, service.version),
            models=tuple(model["name"] for model in facts.get("models", ())),
            batch=self._batch,
            busy=round(self._busy.share(), 4),
            done=self._done,
            taken=self._in_hand.taken,
            in_hand=len(self._in_hand),
            oldest=self._in_hand.oldest,
            rate=round(self._rate.per_second, 3),
            stand_ins=dict(facts.get("stand_ins", {})),
            details=service.announced(),
        )
