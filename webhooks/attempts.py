"""An attempt to deliver a webhook, from its signature to what its result means for the delivery."""

from __future__ import annotations

import time

from shared import metrics
from shared.aio import backoff
from shared.errors import StoreAway
from shared.log import get_logger
from shared.settings import Settings
from webhooks.model import Delivery, DeliveryState, Result, milliseconds
from webhooks.outbox import Outbox
from webhooks.sender import Sender
from webhooks.signing import Secrets, signed_headers

log = get_logger(__name__)

#: A receiver that takes something after so many failures was away: what waits for it need not wait any more.
_WAS_AWAY = 3


class DeliveryAttempts:
    """Signs, sends and settles deliveries that were claimed, one at each call."""

    def __init__(self, settings: Settings, outbox: Outbox, secrets: Secrets, sender: Sender) -> None:
        self._settings, self._outbox, self._secrets, self._sender = settings, outbox, secrets, sender

    async def attempt(self, delivery: Delivery) -> None:
        """Try a delivery once. While the database is away it stays as it is, until its lease ends."""
        at, body = int(time.time()), delivery.body or b""
        try:
            secrets = await self._valid_secrets(delivery.stream, at)
            headers = signed_headers(secrets, delivery.job_id, at, body)
            await self._settle(delivery, await self._sender.post(delivery.url, headers, body))
        except StoreAway:
            log.warning("webhook.unsettled", job=delivery.job_id)

    async def _settle(self, delivery: Delivery, result: Result) -> None:
        now, settings, queue = time.time(), self._settings, self._outbox.queue
        forget_at = milliseconds(now + settings.webhook_record_seconds)
        if result.unwanted:
            await queue.disable(delivery, milliseconds(now), forget_at)
            return _count("disabled", delivery, result)
        if result.delivered:
            await queue.settle(delivery, DeliveryState.DELIVERED, result, forget_at)
            if delivery.attempts >= _WAS_AWAY:
                await queue.hurry(delivery, milliseconds(now))
            return _count("delivered", delivery, result)
        next_at = milliseconds(now + self._pause(delivery.attempts, result))
        if next_at > delivery.finished + milliseconds(settings.webhook_seconds):
            await queue.settle(delivery, DeliveryState.GIVEN_UP, result, forget_at)
            return _count("given_up", delivery, result)
        await queue.settle(delivery, DeliveryState.DUE, result, next_at)
        return _count("failed", delivery, result)

    def _pause(self, failures: int, result: Result) -> float:
        """Seconds, four times as many after each failure, or what the receiver asked for if that is more."""
        settings = self._settings
        first, longest = settings.webhook_first_pause_seconds, settings.webhook_longest_pause_seconds
        return max(backoff(failures, first, longest, factor=4.0), min(result.retry_after or 0.0, longest))

    async def _valid_secrets(self, stream: str, at: float) -> list[bytes]:
        """The stream's own, and for a while after it was changed the one before."""
        generation, changed = await self._outbox.generations.of(stream)
        generations = [generation]
        if generation > 0 and at < changed / 1000 + self._settings.webhook_old_secret_seconds:
            generations.append(generation - 1)
        return [self._secrets.of(stream, number) for number in generations]


def _count(outcome: str, delivery: Delivery, result: Result) -> None:
    metrics.WEBHOOKS.labels(outcome).inc()
    attempts, status, error = delivery.attempts + 1, result.status, result.error
    log.info("webhook", outcome=outcome, job=delivery.job_id, attempts=attempts, status=status, error=error)
