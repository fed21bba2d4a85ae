"""Queues in RabbitMQ (`shared.ports.Broker`), version 3.10 and later: `amqp://` and `amqps://`.

Every queue is a durable quorum queue, every message persistent, every publish confirmed and mandatory. Publishing and
consuming have a connection each: a broker short of memory stops reading from those who publish, and acknowledgements are
what gives it room again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from aiormq.exceptions import ChannelNotFoundEntity
from yarl import URL

from shared.adapters.rabbitmq.consumer import Handle, RabbitConsumer
from shared.adapters.rabbitmq.link import Link, quieten
from shared.adapters.rabbitmq.management import Management, Told
from shared.adapters.rabbitmq.publisher import Publisher
from shared.adapters.rabbitmq.topology import Topology
from shared.errors import BrokerAway
from shared.facts import Observation
from shared.ports import Depth, Message, refuse_too_large
from shared.settings import Settings


class RabbitBroker:
    """See `shared.ports.Broker`. Made by `open_broker`."""

    def __init__(self, settings: Settings) -> None:
        url = URL(settings.broker)
        self._topology = Topology(settings.namespace, settings.queue_limit)
        self._publishing = Link(url, "publishing", settings.heartbeat_seconds, settings.publish_seconds)
        self._consuming = Link(url, "consuming", settings.heartbeat_seconds, settings.publish_seconds)
        self._publisher = Publisher(self._publishing, self._topology, settings.retry_after_seconds)
        self._message_bytes = settings.message_bytes
        self._management = Management.of(settings)
        self._consumers: list[RabbitConsumer] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def publish(self, message: Message) -> None:
        # Beforehand, since the broker answers such a message by closing the channel, with everybody's publishes on it.
        refuse_too_large(message, self._message_bytes)
        await self._publisher.publish(message)

    async def consume(self, queue: str, prefetch: int, handle: Handle) -> RabbitConsumer:
        """Waits for the broker as long as it takes: there is nothing else for a worker to do."""
        consumer = RabbitConsumer(self._consuming, self._publisher, self._topology, queue, prefetch, handle)
        self._consumers.append(consumer)
        try:
            await consumer.started()
        except asyncio.CancelledError:
            await consumer.close()
            raise
        return consumer

    async def depth(self, queue: str) -> Depth:
        async with self._consuming.channel("depth") as channel:
            try:
                declared = await channel.queue_declare(self._topology.queue(queue), passive=True)
            except ChannelNotFoundEntity:
                return Depth(0, 0)
            return Depth(declared.message_count or 0, declared.consumer_count or 0)

    async def observe(self, queues: Sequence[str]) -> Observation:
        """Ready messages and consumers by AMQP, which tells them as they are now; the rest by the management API, if there is one."""
        (told, gap), depths = await asyncio.gather(self._management.tell(), self._depths(queues))
        facts = {queue: told.get(self._topology.queue(queue), Told()).of(depth) for queue, depth in depths.items()}
        return Observation(facts, gap)

    async def _depths(self, queues: Sequence[str]) -> dict[str, Depth]:
        found: dict[str, Depth] = {}
        waiting = deque(queues)
        while waiting:
            async with self._consuming.channel("observe") as channel:
                with suppress(ChannelNotFoundEntity):  # which ends the channel, and only that question
                    while waiting:
                        name = waiting.popleft()
                        declared = await channel.queue_declare(self._topology.queue(name), passive=True)
                        found[name] = Depth(declared.message_count or 0, declared.consumer_count or 0)
        return found

    async def ping(self) -> None:
        await self._publisher.ping()

    async def start(self) -> None:
        """Connect, and go on trying when the broker is away."""
        quieten()
        self._tasks = [asyncio.create_task(work()) for work in (self._publishing.run, self._consuming.run, self._publisher.run)]
        with suppress(BrokerAway):
            await self.ping()

    async def close(self) -> None:
        await asyncio.gather(*(consumer.close() for consumer in self._consumers))
        self._publisher.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(self._publishing.close(), self._consuming.close())


@asynccontextmanager
async def open_broker(settings: Settings) -> AsyncIterator[RabbitBroker]:
    """The broker of ``settings.broker``, which may be away: then `ping` says so until it is there."""
    broker = RabbitBroker(settings)
    await broker.start()
    try:
        yield broker
    finally:
        await broker.close()
