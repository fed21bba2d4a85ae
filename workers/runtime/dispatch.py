"""Dispatch: works that may compute become batches, and each free model thread gets one."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Iterable

from shared.aio import BackgroundTasks
from workers.runtime.ahead import Ahead
from workers.runtime.attempts import Attempts
from workers.runtime.batching import Pending, Work
from workers.runtime.compute import Outcome
from workers.runtime.computing import Withdrawn
from workers.runtime.policy import Policy
from workers.runtime.requeue import Requeue
from workers.runtime.threads import ModelThreads


class Dispatcher:
    """The works of one service that were admitted, until they are computed and handed to be settled."""

    def __init__(
        self,
        threads: ModelThreads,
        attempts: Attempts,
        requeue: Requeue,
        policy: Policy,
        tasks: BackgroundTasks,
        settle: Callable[[list[Work], list[Outcome]], Awaitable[None]],
    ) -> None:
        """``settle`` takes each batch that was computed."""
        self._threads, self._attempts, self._requeue = threads, attempts, requeue
        self._policy, self._tasks, self._settle = policy, tasks, settle
        self._pending = Pending()
        self._ahead = Ahead(policy.slots)
        #: Model threads without a batch of ours; below 0, so many batches wait in the threads' queue.
        self._free = policy.slots
        self._stopping = False

    def add(self, works: Iterable[Work]) -> None:
        """These may compute now."""
        for work in works:
            self._pending.add(work)
        self._dispatch()

    def park(self, work: Work) -> None:
        """The work waits for its turn, and is prepared where a thread is idle, until `leave`."""
        if self._threads.has_ahead(work):
            self._ahead.add(work)
            self._dispatch()

    async def leave(self, work: Work) -> None:
        """The work is parked no longer; returns once no thread prepares it."""
        await self._ahead.leave(work)

    async def stop(self) -> None:
        """Begin no further batch, and requeue what no thread has taken. The rest is computed and settled."""
        self._stopping = True
        self._threads.withdraw()
        returned = self._pending.take(len(self._pending) or 1)
        while self._pending:
            returned += self._pending.take(len(self._pending))
        await self._requeue.uncounted(returned)

    def _dispatch(self) -> None:
        while self._pending and (self._free > 0 or self._has_next()):
            if self._stopping:
                self._tasks.start(self._requeue.uncounted(self._pending.take(len(self._pending))))
                continue
            # a full batch in one thread must not leave the others idle
            share = math.ceil(len(self._pending) / max(1, self._free))
            self._free -= 1
            self._tasks.start(self._run(self._pending.take(min(self._policy.batch, share))))
        while self._free > 0 and not self._stopping and (work := self._ahead.next()) is not None:
            self._free -= 1
            self._tasks.start(self._prepare(work))

    def _has_next(self) -> bool:
        """Whether a full batch is to be prefetched into the threads' queue: a thread that is done takes it
        without waiting for the event loop.

        Not a suspect: its attempt is counted, and would count for nothing when the one before it kills the
        worker.
        """
        is_full = len(self._pending) >= self._policy.batch
        return self._free > -self._policy.slots and is_full and not self._pending.suspect

    async def _prepare(self, work: Work) -> None:
        try:
            seconds = await self._threads.prepare(work)
        finally:
            self._free += 1
            self._ahead.prepared(work)
        self._threads.prepared(seconds)
        self._dispatch()

    async def _run(self, batch: list[Work]) -> None:
        if batch[0].alone and not await self._attempts.may_try(batch[0]):
            self._free += 1
            self._dispatch()
            return
        try:
            outcomes = await self._threads.compute(batch)
        except Withdrawn:
            await self._requeue.uncounted(batch)
            return
        finally:
            self._free += 1
        self._dispatch()
        await self._settle(batch, outcomes)
