"""The news of finished jobs, from the moment at which the request asks for it to the receiver's answer.

A delivery is noted in the database before its job is published, so that no crash can lose it: whichever gateway runs afterwards finds
the note, looks for the job's end, and delivers. The gateway that accepted the job hears of its end at once.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

import orjson

from shared import metrics
from shared.aio import BackgroundTasks, backoff
from shared.errors import PerceptionError, RateLimited, StoreAway
from shared.events import Event, Failed
from shared.job_ids import JobRef
from shared.log import get_logger
from shared.ports import Stores
from shared.settings import Settings
from webhooks.model import Delivery, DeliveryState, Result
from webhooks.outbox import Outbox, OutboxFull
from webhooks.sender import Sender
from webhooks.signing import Secrets, signed_headers

log = get_logger(__name__)

#: The database is asked this often, in seconds, for what other processes noted and for what is due again.
_LOOK_EVERY = 1.0
#: A job's end that was not heard of is first looked for after this time, in seconds, and then at least this often.
_LOOK_FIRST, _LOOK_AT_LEAST = 2.0, 30.0
_LOOKED_FOR_AT_A_TIME = 500
_FORGET_EVERY = 3600.0
#: Jobs that one gateway follows by itself; of further ones it hears when it looks.
_MOST_FOLLOWED = 5000
#: A lease outlasts a try by this many seconds.
_LEASE_SLACK = 10.0
#: A receiver that takes something after so many failures was away, so that what waits for it need not wait any more.
_WAS_AWAY = 3


@dataclass(frozen=True, slots=True)
class JobViews:
    """How a job looks from outside, which is the gateway's to say."""

    #: The document of a job, by its address, reference and final event.
    final: Callable[[str, JobRef, Event], dict[str, Any]]
    #: Why an unfinished job will say no more, by its reference and events; None while it still may.
    expired_or_lost: Callable[[JobRef, Sequence[Event], Settings], PerceptionError | None]


class Webhooks:
    """What a gateway notes, hears and delivers."""

    def __init__(self, settings: Settings, outbox: Outbox, secrets: Secrets, stores: Stores, views: JobViews) -> None:
        self.outbox, self.secrets = outbox, secrets
        self._settings, self._stores, self._views = settings, stores, views
        self._sender = Sender(settings)
        self._wake = asyncio.Event()
        self._followed, self._delivering = BackgroundTasks(), BackgroundTasks()
        self._in_hand: dict[asyncio.Task[None], Delivery] = {}
        self._promised: Counter[str] = Counter()
        self._keeper: asyncio.Task[None] | None = None
        self._forgot = self._looked = float("-inf")

    def start(self) -> asyncio.Task[None]:
        """Begin to deliver; the task that does it, which never ends by itself."""
        self._keeper = asyncio.create_task(self._keep_delivering())
        return self._keeper

    async def stop(self) -> None:
        """Give back what is in hand: the receiver may get it once more, from whoever delivers next."""
        claimed = list(self._in_hand.values())
        if self._keeper is not None:
            self._keeper.cancel()
        await asyncio.gather(self._followed.cancel(), self._delivering.cancel())
        if self._keeper is not None:
            await asyncio.wait([self._keeper])
        with suppress(StoreAway):
            await self.outbox.queue.release(claimed)

    # A job's way in

    async def note(self, delivery: Delivery) -> bool:
        """Keep in mind who wants to hear of a job. False when the receiver is disabled. Raises `RateLimited` or `StoreAway`."""
        try:
            return await self.outbox.add(delivery, _ms(time.time() + _LOOK_FIRST), self._settings.webhook_backlog)
        except OutboxFull:
            raise RateLimited(
                f"{self._settings.webhook_backlog} webhooks of this stream are not delivered yet; GET /webhooks tells why", retry_after=60
            ) from None

    async def drop(self, job_id: str) -> None:
        """The job was not accepted after all."""
        await self.outbox.remove(job_id)

    def expect(self, delivery: Delivery) -> None:
        """The job was accepted: hear of its end as soon as it comes."""
        if len(self._followed) < _MOST_FOLLOWED:
            self._followed.start(self._follow(delivery))

    async def _follow(self, delivery: Delivery) -> None:
        with suppress(StoreAway, TimeoutError):  # then its end is looked for
            async with asyncio.timeout(self._settings.deadline_seconds), self._stores.results.follow(delivery.job_id) as events:
                async for _, event in events:
                    if event.final:
                        await self._finish(delivery, event)

    # Its end

    async def _finish(self, delivery: Delivery, event: Event) -> None:
        """``event``: the job's last one. What is delivered is what polling gives at this moment."""
        now = time.time()
        ended = replace(delivery, body=orjson.dumps(self._views.final(delivery.job_url, _ref(delivery), event)), finished=_ms(now))
        if not self._has_room(delivery.stream):
            await self.outbox.finish(delivery.job_id, ended.body or b"", ended.finished)
            return
        ended = replace(ended, lease=self._lease(now))  # saves claiming it right afterwards
        self._promised[delivery.stream] += 1
        try:
            if await self.outbox.finish(delivery.job_id, ended.body or b"", ended.finished, ended.lease):
                self._begin(ended)
        finally:
            self._promised[delivery.stream] -= 1

    async def _look_for_ends(self) -> None:
        """Of jobs that another process accepted, or whose end this one did not hear of."""
        now = time.time()
        waiting = await self.outbox.waiting(_ms(now), _LOOKED_FOR_AT_A_TIME)
        if not waiting:
            return
        ended = await self._stores.results.finished([delivery.job_id for delivery in waiting])
        later: dict[str, int] = {}
        for delivery, has_ended in zip(waiting, ended, strict=True):
            event = await self._end_of(delivery, has_ended=has_ended)
            if event is not None:
                await self._finish(delivery, event)
            else:
                age = now - delivery.created / 1000
                later[delivery.job_id] = _ms(now + min(max(age / 2, _LOOK_FIRST), _LOOK_AT_LEAST))
        await self.outbox.look_later(later)

    async def _end_of(self, delivery: Delivery, *, has_ended: bool) -> Event | None:
        """How a job ended; of one that will not say any more the same as polling says."""
        now = time.time()
        if not has_ended and now - delivery.created / 1000 < self._settings.deadline_seconds:
            return None
        last = await self._stores.results.events(delivery.job_id, -1)
        if last and last[0].final:
            return last[0]
        error = self._views.expired_or_lost(_ref(delivery), await self._stores.results.events(delivery.job_id), self._settings)
        return None if error is None else Failed.of(error, now)

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
            await self._look_for_ends()
        if clock - self._forgot >= _FORGET_EVERY:
            self._forgot = clock
            await self.outbox.forget(_ms(time.time()))
        for delivery in await self._claim():
            self._begin(delivery)

    async def _claim(self) -> Sequence[Delivery]:
        """As many as may be under way; of each stream half of what it may have, when no more than half is under way."""
        now, under_way = time.time(), self._under_way()
        free = self._settings.webhook_deliveries - under_way.total()
        if free <= 0 or not await self.outbox.queue.has_due(_ms(now)):
            return ()
        each = max(1, self._settings.webhook_deliveries_per_stream // 2)
        busy = [stream for stream, count in under_way.items() if count + each > self._settings.webhook_deliveries_per_stream]
        return await self.outbox.queue.claim(_ms(now), self._lease(now), most=free, each=each, busy=busy)

    def _begin(self, delivery: Delivery) -> None:
        task = self._delivering.start(self._deliver(delivery))
        self._in_hand[task] = delivery
        task.add_done_callback(self._in_hand.pop)
        task.add_done_callback(lambda _: self._wake.set())

    def _under_way(self) -> Counter[str]:
        return Counter(delivery.stream for delivery in self._in_hand.values()) + self._promised

    def _has_room(self, stream: str) -> bool:
        """Half of what a stream may have is left to what was claimed, so that neither way out waits for the other."""
        under_way = self._under_way()
        most = max(1, self._settings.webhook_deliveries_per_stream // 2)
        return under_way.total() < self._settings.webhook_deliveries and under_way[stream] < most

    def _lease(self, now: float) -> int:
        return _ms(now + self._settings.webhook_timeout_seconds + _LEASE_SLACK)

    async def _deliver(self, delivery: Delivery) -> None:
        at, body = int(time.time()), delivery.body or b""
        try:
            headers = signed_headers(await self._valid_secrets(delivery.stream, at), delivery.job_id, at, body)
            await self._settle(delivery, await self._sender.post(delivery.url, headers, body))
        except StoreAway:
            log.warning("webhook.unsettled", job=delivery.job_id)  # its lease ends, and it is delivered again

    async def _settle(self, delivery: Delivery, result: Result) -> None:
        now, settings = time.time(), self._settings
        forget_at = _ms(now + settings.webhook_record_seconds)
        if result.unwanted:
            await self.outbox.queue.disable(delivery, _ms(now), forget_at)
            return _count("disabled", delivery, result)
        if result.delivered:
            await self.outbox.queue.settle(delivery, DeliveryState.DELIVERED, result, forget_at)
            if delivery.attempts >= _WAS_AWAY:
                await self.outbox.queue.hurry(delivery, _ms(now))
            return _count("delivered", delivery, result)
        next_at = now + max(self._pause(delivery.attempts), min(result.retry_after or 0.0, settings.webhook_longest_pause_seconds))
        if _ms(next_at) > delivery.finished + _ms(settings.webhook_seconds):
            await self.outbox.queue.settle(delivery, DeliveryState.GIVEN_UP, result, forget_at)
            return _count("given_up", delivery, result)
        await self.outbox.queue.settle(delivery, DeliveryState.DUE, result, _ms(next_at))
        return _count("failed", delivery, result)

    def _pause(self, failures: int) -> float:
        """Seconds, four times as many after each failure."""
        settings = self._settings
        first, longest = settings.webhook_first_pause_seconds, settings.webhook_longest_pause_seconds
        return backoff(failures, first, longest, factor=4.0)

    # Secrets

    async def _valid_secrets(self, stream: str, at: float) -> list[bytes]:
        """The stream's own, and for a while after it was changed the one before."""
        generation, changed = await self.outbox.generations.of(stream)
        generations = [generation]
        if generation > 0 and at < changed / 1000 + self._settings.webhook_old_secret_seconds:
            generations.append(generation - 1)
        return [self.secrets.of(stream, number) for number in generations]


def _ref(delivery: Delivery) -> JobRef:
    return JobRef(delivery.job_id, delivery.created / 1000, 0, delivery.synchronous)


def _ms(seconds: float) -> int:
    return int(seconds * 1000)


def _count(outcome: str, delivery: Delivery, result: Result) -> None:
    metrics.WEBHOOKS.labels(outcome).inc()
    log.info("webhook", outcome=outcome, job=delivery.job_id, attempts=delivery.attempts + 1, status=result.status, error=result.error)
