"""The model threads as a runner sees them: batches in flight, timed, announced when slow, withdrawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from functools import partial
from typing import Any

from shared import metrics
from shared.aio import BackgroundTasks
from shared.errors import StoreAway
from shared.events import Started
from shared.log import get_logger
from shared.ports import Entry, ResultStore
from workers.contract import Service
from workers.runtime.activity import Activity
from workers.runtime.batching import Work
from workers.runtime.compute import Outcome
from workers.runtime.computing import Computing
from workers.runtime.emitting import Emitter
from workers.runtime.policy import Policy
from workers.streaming import StreamingService

log = get_logger(__name__)


class ModelThreads:
    """What one service has in flight in the model threads of the process."""

    def __init__(
        self,
        service: Service[Any, Any],
        activity: Activity,
        pool: Executor,
        results: ResultStore,
        policy: Policy,
        tasks: BackgroundTasks,
        on_stuck: Callable[[], None],
    ) -> None:
        """``pool`` runs the threads; ``on_stuck`` is called when a batch outlasts its time."""
        self._activity, self._pool, self._results, self._policy = activity, pool, results, policy
        self._tasks, self._on_stuck = tasks, on_stuck
        self._service = service.name
        self._streams = isinstance(service, StreamingService)
        #: The batches that a thread has, or that wait for one.
        self._in_flight: set[Computing] = set()
        self._meters = _Meters(service.name)

    async def compute(self, batch: list[Work]) -> list[Outcome]:
        """The outcome of each work. Raises `Withdrawn`."""
        with self._computing(batch) as computing:
            emitter = Emitter(self._results, computing.progressed) if self._streams else None
            work = partial(self._activity.compute, emitter=emitter)
            outcomes, seconds = await computing.run(self._pool, work, batch)
        self._activity.computed(len(batch), seconds)
        self._meters.computed(batch, seconds)
        return outcomes

    def has_ahead(self, work: Work) -> bool:
        """Whether something of this work can be done before its turn has come."""
        return self._activity.has_ahead(work)

    async def prepare(self, work: Work) -> float:
        """Prepare a frame ahead of its turn. Returns the seconds that it took, for `prepared`."""
        with Computing() as computing:
            computing.unless_progress(self._policy.process_seconds, self._on_stuck)
            return await computing.run(self._pool, self._activity.prepare, work)

    def prepared(self, seconds: float) -> None:
        self._activity.computed(0, seconds)

    def withdraw(self) -> None:
        """Take back the batches that no thread has taken yet."""
        for computing in list(self._in_flight):
            computing.withdraw()

    @contextmanager
    def _computing(self, batch: list[Work]) -> Iterator[Computing]:
        with Computing() as computing:
            computing.unless_progress(self._policy.process_seconds, self._on_stuck)
            computing.after(self._policy.announce_after, partial(self._announce, batch))
            self._in_flight.add(computing)
            try:
                yield computing
            finally:
                self._in_flight.discard(computing)

    def _announce(self, batch: list[Work]) -> None:
        self._tasks.start(self._append_started(batch))

    async def _append_started(self, batch: Sequence[Work]) -> None:
        now = time.time()
        try:
            await self._results.append([Entry(work.job.id, Started(now, work.attempt)) for work in batch])
        except StoreAway:
            log.warning("store.away", service=self._service, works=len(batch))


class _Meters:
    """The metrics of batches with their labels filled in once: `labels()` costs more than counting."""

    def __init__(self, service: str) -> None:
        self._batch = metrics.BATCH_SECONDS.labels(service)
        self._compute = metrics.COMPUTE_SECONDS.labels(service)
        self._items = metrics.BATCH_ITEMS.labels(service)

    def computed(self, batch: list[Work], seconds: float) -> None:
        begin = time.time() - seconds
        self._compute.observe(seconds)
        self._items.observe(len(batch))
        self._batch.observe(max(0.0, begin - batch[0].received))
