"""A subscription to a queue of RabbitMQ that survives its channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from aiormq import Channel, Connection
from aiormq.abc import DeliveredMessage
from pamqp import commands

from shared.adapters.rabbitmq.link import Link, answering, closed, lose, open_channel, usable
from shared.adapters.rabbitmq.probe import Probe
from shared.adapters.rabbitmq.publisher import Publisher
from shared.adapters.rabbitmq.settling import RabbitDelivery, Settlements
from shared.adapters.rabbitmq.topology import Topology
from shared.errors import BrokerAway
from shared.log import get_logger
from shared.ports import DEAD_LETTERS, Delivery

log = get_logger(__name__)

Handle = Callable[[Delivery], None]


class Subscription:
    """One channel that consumes one queue. ``lost`` is done once the broker has cancelled it or the channel is closed."""

    def __init__(self, channel: Channel, handle: Handle, tell_reason: bool) -> None:
        self._channel = channel
        self._handle = handle
        self._tell_reason = tell_reason
        self._settlements = Settlements(channel)
        self._tag: str | None = None
        self._stopping = False
        self.probe = Probe(channel, self._settlements.take, self._settlements.reject)
        self.lost = closed(channel)
        channel.on_consumer_cancel_callbacks.add(self._cancelled)

    async def start(self, queue: str, prefetch: int) -> None:
        await self._channel.basic_qos(prefetch_count=prefetch)
        await self.probe.declare()
        self._tag = (await self._channel.basic_consume(queue, self._deliver)).consumer_tag

    @property
    def alive(self) -> bool:
        return usable(self._channel) and not self.lost.done() and self._tag in self._channel.consumers

    async def stop(self) -> None:
        self._stopping = True
        if self.alive and self._tag is not None:
            await self._channel.basic_cancel(self._tag)

    async def close(self) -> None:
        """Send what was settled and wait until the broker has taken it; what was not goes back to the queue."""
        self._stopping = True
        self._settlements.flush()
        if usable(self._channel):
            await self._channel.close()

    async def _deliver(self, message: DeliveredMessage) -> None:
        tag = message.delivery_tag or 0
        self._settlements.take(tag)
        delivery = RabbitDelivery(self._settlements, tag, message, self._tell_reason)
        if self._stopping:
            delivery.reject(requeue=True)
            return
        try:
            self._handle(delivery)
        except Exception:
            log.exception("delivery.handler_raised")
            if not delivery.settled:
                delivery.reject(requeue=False)

    def _cancelled(self, frame: commands.Basic.Cancel) -> None:
        if frame.consumer_tag == self._tag:
            lose(self.lost)


class RabbitConsumer:
    """A consumer that is subscribed again whenever its subscription is lost (`shared.ports.Consumer`)."""

    def __init__(self, link: Link, publisher: Publisher, topology: Topology, queue: str, prefetch: int, handle: Handle) -> None:
        self._link = link
        self._publisher = publisher
        self._topology = topology
        self._queue = queue
        self._prefetch = prefetch
        self._handle = handle
        self._subscription: Subscription | None = None
        self._first = asyncio.Event()
        self._verifying = asyncio.Lock()
        self._task = asyncio.create_task(link.keep(f"consumer of {queue}", self._subscribe))

    async def started(self) -> None:
        """Return once it consumes for the first time."""
        await self._first.wait()

    async def verify(self) -> None:
        """Two questions: has the queue a consumer, and does the broker deliver on the channel of ours? A no restarts it."""
        async with self._verifying:
            subscription = self._subscription
            if subscription is None or not subscription.alive or self._task.done():
                raise BrokerAway(f"Not consuming {self._queue}")
            if not await self._consumers():
                self._restart(subscription, "no consumer")
            await subscription.probe.arm(self._publisher)
            try:
                async with answering(self._link.limit, f"delivering to the consumer of {self._queue}"):
                    await subscription.probe.echo()
            except BrokerAway as error:
                self._restart(subscription, error.message)

    async def stop(self) -> None:
        self._task.cancel()
        if self._subscription is not None:
            with suppress(BrokerAway):
                async with answering(self._link.limit, "cancelling a consumer"):
                    await self._subscription.stop()

    async def close(self) -> None:
        """Stop, and return once the broker has taken what was settled. What was not goes back to the queue."""
        await self.stop()
        if self._subscription is not None:
            with suppress(BrokerAway):
                async with answering(self._link.limit, "closing a consumer"):
                    await self._subscription.close()

    async def _subscribe(self, connection: Connection) -> asyncio.Future[None]:
        former, self._subscription = self._subscription, None
        if former is not None:
            await former.close()
        await self._topology.declare_dead_letters(connection)
        await self._topology.declare(connection, self._queue)
        channel = await open_channel(connection)
        subscription = Subscription(channel, self._handle, self._queue == DEAD_LETTERS)
        # Kept before it has started, so that another attempt closes its channel.
        self._subscription = subscription
        await subscription.start(self._topology.queue(self._queue), self._prefetch)
        self._first.set()
        log.info("consumer.started", queue=self._queue)
        return subscription.lost

    async def _consumers(self) -> int:
        async with self._link.channel("verify") as channel:
            declared = await channel.queue_declare(self._topology.queue(self._queue), passive=True)
            return declared.consumer_count or 0

    def _restart(self, subscription: Subscription, reason: str) -> None:
        log.error("consumer.restarted", queue=self._queue, reason=reason)
        lose(subscription.lost)
        raise BrokerAway(f"The broker does not deliver to the consumer of {self._queue}")
