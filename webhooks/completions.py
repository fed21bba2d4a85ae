"""How a gateway learns that a job with a webhook has completed, and what its receiver is to be told then."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from shared.aio import BackgroundTasks
from shared.errors import PerceptionError, StoreAway
from shared.events import Event, Failed
from shared.job_ids import JobRef
from shared.ports import Stores
from shared.settings import Settings
from webhooks.in_flight import InFlight
from webhooks.model import Delivery, milliseconds
from webhooks.outbox import Outbox

#: A completion not heard of is first looked for after this time, in seconds, and then at least this often.
LOOK_FIRST, _LOOK_AT_LEAST = 2.0, 30.0
_LOOKED_FOR_AT_A_TIME = 500
#: Jobs that one gateway follows by itself; of further ones it hears when it looks.
_MOST_FOLLOWED = 5000


@dataclass(frozen=True, slots=True)
class JobViews:
    """How a job looks from outside, which is the gateway's to say."""

    #: The document of a job, by its address, reference and final event.
    final: Callable[[str, JobRef, Event], dict[str, Any]]
    #: Why an unfinished job will say no more, by its reference and events; None while it still may.
    expired_or_lost: Callable[[JobRef, Sequence[Event], Settings], PerceptionError | None]


class CompletionWatcher:
    """Follows the jobs that this gateway accepted, and looks for the completions that nobody heard of."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        stores: Stores,
        views: JobViews,
        in_flight: InFlight,
    ) -> None:
        self._settings, self._outbox, self._stores, self._views = settings, outbox, stores, views
        self._in_flight = in_flight
        self._followed = BackgroundTasks()

    def follow(self, delivery: Delivery) -> None:
        """Hear of the job's completion as soon as it comes."""
        if len(self._followed) < _MOST_FOLLOWED:
            self._followed.start(self._follow(delivery))

    async def cancel(self) -> None:
        """Follow nothing any more."""
        await self._followed.cancel()

    async def look(self) -> None:
        """Look for completions of jobs that another process accepted, or of which this one did not hear."""
        now = time.time()
        waiting = await self._outbox.waiting(milliseconds(now), _LOOKED_FOR_AT_A_TIME)
        if not waiting:
            return
        ended = await self._stores.results.finished([delivery.job_id for delivery in waiting])
        later: dict[str, int] = {}
        for delivery, has_ended in zip(waiting, ended, strict=True):
            event = await self._end_of(delivery, has_ended=has_ended)
            if event is not None:
                await self._complete(delivery, event)
            else:
                age = now - delivery.created / 1000
                later[delivery.job_id] = milliseconds(now + min(max(age / 2, LOOK_FIRST), _LOOK_AT_LEAST))
        await self._outbox.look_later(later)

    async def _follow(self, delivery: Delivery) -> None:
        results, seconds = self._stores.results, self._settings.deadline_seconds
        with suppress(StoreAway, TimeoutError):  # then its end is looked for
            async with asyncio.timeout(seconds), results.follow(delivery.job_id) as events:
                async for _, event in events:
                    if event.final:
                        await self._complete(delivery, event)

    async def _complete(self, delivery: Delivery, event: Event) -> None:
        """``event``: the job's last one. What is delivered is what polling gives at this moment."""
        now = time.time()
        body = orjson.dumps(self._views.final(delivery.job_url, _ref(delivery), event))
        if not self._in_flight.has_room(delivery.stream):
            await self._outbox.finish(delivery.job_id, body, milliseconds(now))
            return
        lease = self._in_flight.lease(now)  # saves claiming it right afterwards
        with self._in_flight.reserve(delivery.stream):
            if await self._outbox.finish(delivery.job_id, body, milliseconds(now), lease):
                self._in_flight.start(replace(delivery, body=body, finished=milliseconds(now), lease=lease))

    async def _end_of(self, delivery: Delivery, *, has_ended: bool) -> Event | None:
        """How a job ended; of one that will not say any more the same as polling says."""
        now, results = time.time(), self._stores.results
        if not has_ended and now - delivery.created / 1000 < self._settings.deadline_seconds:
            return None
        last = await results.events(delivery.job_id, -1)
        if last and last[0].final:
            return last[0]
        events = await results.events(delivery.job_id)
        error = self._views.expired_or_lost(_ref(delivery), events, self._settings)
        return None if error is None else Failed.of(error, now)


def _ref(delivery: Delivery) -> JobRef:
    return JobRef(delivery.job_id, delivery.created / 1000, 0, delivery.synchronous)
