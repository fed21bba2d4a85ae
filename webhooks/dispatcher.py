"""The news of finished jobs, from the moment at which the request asks for it to the receiver's answer.

A delivery is noted in the database before its job is published, so that no crash can lose it: any gateway
that runs afterwards finds the note, looks for the job's end, and delivers. The gateway that accepted the job
hears of its end at once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress

from shared.errors import RateLimited, StoreAway
from shared.log import get_logger
from shared.ports import Stores
from shared.settings import Settings
from webhooks.attempts import DeliveryAttempts
from webhooks.completions import LOOK_FIRST, CompletionWatcher, JobViews
from webhooks.in_flight import InFlight
from webhooks.model import Delivery, milliseconds
from webhooks.outbox import Outbox, OutboxFull
from webhooks.sender import Sender
from webhooks.signing import Secrets

log = get_logger(__name__)

#: The database is asked this often, in seconds, for what other processes noted and for what is due again.
_LOOK_EVERY = 1.0
_FORGET_EVERY = 3600.0


class WebhookDispatcher:
    """What a gateway notes, hears and delivers."""

    def __init__(
        self,
        settings: Settings,
        outbox: Outbox,
        secrets: Secrets,
        stores: Stores,
        views: JobViews,
    ) -> None:
        self.outbox, self.secrets = outbox, secrets
        self._settings = settings
        self._sender = Sender(settings)
        #: Set when an attempt has ended, which makes room for another.
        self._wake = asyncio.Event()
        attempts = DeliveryAttempts(settings, outbox, secrets, self._sender)
        self._in_flight = InFlight(settings, attempts.attempt, self._wake.set)
        self._completions = CompletionWatcher(settings, outbox, stores, views, self._in_flight)
        self._keeper: asyncio.Task[None] | None = None
        self._forgot = self._looked = float("-inf")

    def start(self) -> asyncio.Task[None]:
        """Begin to deliver; the task that does it, which never ends by itself."""
        self._keeper = asyncio.create_task(self._keep_delivering())
        return self._keeper

    async def stop(self) -> None:
        """Give back what is in flight: the receiver may get it once more, from whoever delivers next."""
        if self._keeper is not None:
            self._keeper.cancel()
        _, claimed = await asyncio.gather(self._completions.cancel(), self._in_flight.cancel())
        if self._keeper is not None:
            await asyncio.wait([self._keeper])
        with suppress(StoreAway):
            await self.outbox.queue.release(claimed)

    # A job's way in

    async def note(self, delivery: Delivery) -> bool:
        """Keep in mind who wants to hear of a job. False when the receiver is disabled.

        Raises `RateLimited` or `StoreAway`.
        """
        most = self._settings.webhook_backlog
        try:
            return await self.outbox.add(delivery, milliseconds(time.time() + LOOK_FIRST), most)
        except OutboxFull:
            reason = f"{most} webhooks of this stream are not delivered yet; GET /webhooks tells why"
            raise RateLimited(reason, retry_after=60) from None

    async def drop(self, job_id: str) -> None:
        """The job was not accepted after all."""
        await self.outbox.remove(job_id)

    def expect(self, delivery: Delivery) -> None:
        """The job was accepted: hear of its end as soon as it comes."""
        self._completions.follow(delivery)

    # Its way out

    async def _keep_delivering(self) -> None:
        away = False
        async with self._sender:
            while True:
                self._wake.clear()
                try:
                    await self._deliver_what_is_due()
                    away = False
                except StoreAway as error:
                    if not away:
                        log.warning("webhooks.not_looked_at", reason=error.message)
                    away = True
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LOOK_EVERY):
                        await self._wake.wait()

    async def _deliver_what_is_due(self) -> None:
        clock = time.monotonic()
        if clock - self._looked >= _LOOK_EVERY:
            self._looked = clock
            await self._completions.look()
        if clock - self._forgot >= _FORGET_EVERY:
            self._forgot = clock
            await self.outbox.forget(milliseconds(time.time()))
        for delivery in await self._claim():
            self._in_flight.start(delivery)

    async def _claim(self) -> Sequence[Delivery]:
        """As many as may be in flight; of each stream its share, when no more than that is in flight."""
        now, queue, place = time.time(), self.outbox.queue, self._in_flight
        free, busy = place.free, place.busy()
        if free <= 0 or not await queue.has_due(milliseconds(now)):
            return ()
        return await queue.claim(milliseconds(now), place.lease(now), most=free, each=place.share, busy=busy)
