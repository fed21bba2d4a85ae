"""Queues in this process (`shared.ports.Broker`), for embedded mode and tests: `memory://`.

It behaves as the RabbitMQ adapter does, down to prefetch, redelivery, expiry, limits and dead letters, except that nothing
outlives the process.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from shared.errors import BrokerAway, NoWorker, QueueFull
from shared.facts import Observation, QueueFacts
from shared.log import get_logger
from shared.ports import DEAD_LETTERS, Delivery, Depth, Message, refuse_too_large
from shared.rates import Rate
from shared.settings import Settings

log = get_logger(__name__)

#: As in RabbitMQ: a message given back more often than this dies, whatever the workers count.
DELIVERY_LIMIT = 100
#: Deliveries in one turn of the event loop, so that a handler that settles at once cannot occupy it for ever.
_TURN = 64

Handle = Callable[[Delivery], None]


class _Stored:
    """A message inside a queue. ``since``: when it came (the loop's clock). ``returned``: how often it was given back. ``reason``: why it died."""

    __slots__ = ("body", "expires_at", "id", "number", "reason", "returned", "since", "timer")

    def __init__(self, number: int, identifier: str, body: bytes, expires_at: float | None = None, reason: str | None = None) -> None:
        self.number = number
        self.id = identifier
        self.body = body
        self.expires_at = expires_at
        self.reason = reason
        self.since = asyncio.get_running_loop().time()
        self.returned = 0
        self.timer: asyncio.TimerHandle | None = None


class MemoryServer:
    """All queues: what RabbitMQ is to the other adapter. It lives in one event loop."""

    def __init__(self) -> None:
        self.queues: dict[str, _Queue] = {}
        self.declare(DEAD_LETTERS)

    def declare(self, name: str) -> _Queue:
        if name not in self.queues:
            self.queues[name] = _Queue(name, self._bury)
        return self.queues[name]

    def _bury(self, stored: _Stored, reason: str) -> None:
        self.queues[DEAD_LETTERS].add(stored.id, stored.body, reason=reason)


class _Queue:
    """Messages in order, each waiting or in a consumer's hand, and the consumers that take turns."""

    def __init__(self, name: str, bury: Callable[[_Stored, str], None]) -> None:
        self._name = name
        self._bury = bury
        self._ready: OrderedDict[int, _Stored] = OrderedDict()
        self._numbered = 0
        self._scheduled = False
        self._published, self._delivered = Rate(), Rate()
        self._in_hand: dict[int, _Stored] = {}
        self.consumers: deque[MemoryConsumer] = deque()

    @property
    def ready(self) -> int:
        return len(self._ready)

    def facts(self) -> QueueFacts:
        in_hand = self._in_hand.values()
        next_up = [next(iter(self._ready.values()))] if self._ready else []
        # What waits is in order, but for what was given back to the front, which is older still.
        oldest = min((stored.since for stored in (*in_hand, *next_up)), default=None)
        return QueueFacts(
            ready=self.ready,
            consumers=len(self.consumers),
            unacknowledged=len(in_hand),
            published_rate=self._published.per_second,
            delivered_rate=self._delivered.per_second,
            oldest_seconds=0.0 if oldest is None else asyncio.get_running_loop().time() - oldest,
        )

    def add(self, identifier: str, body: bytes, expires_in: float | None = None, reason: str | None = None) -> None:
        self._numbered += 1
        self._published.count()
        expires_at = None if expires_in is None else asyncio.get_running_loop().time() + max(0, expires_in)
        stored = _Stored(self._numbered, identifier, body, expires_at, reason)
        self._ready[stored.number] = stored
        self._await_expiry(stored)
        self.wake()

    def give_back(self, stored: _Stored) -> None:
        """Put a message that was in hand back to the front."""
        stored.returned += 1
        if stored.returned > DELIVERY_LIMIT and self._name != DEAD_LETTERS:
            self._bury(stored, "delivery_limit")
            return
        if stored.expires_at is not None and stored.expires_at <= asyncio.get_running_loop().time():
            self.discard(stored, "expired")
            return
        self._ready[stored.number] = stored
        self._ready.move_to_end(stored.number, last=False)
        self._await_expiry(stored)
        self.wake()

    def discard(self, stored: _Stored, reason: str) -> None:
        """To the dead letters; a dead letter itself is gone."""
        if self._name != DEAD_LETTERS:
            self._bury(stored, reason)

    def release(self, stored: _Stored) -> None:
        """It is no longer in hand."""
        self._in_hand.pop(stored.number, None)
        self.wake()

    def wake(self) -> None:
        """Deliver what can be delivered, soon: never from inside the caller."""
        if not self._scheduled:
            self._scheduled = True
            asyncio.get_running_loop().call_soon(self._deliver)

    def _deliver(self) -> None:
        self._scheduled = False
        for _ in range(_TURN):
            consumer = self._next_consumer() if self._ready else None
            if consumer is None:
                return
            _, stored = self._ready.popitem(last=False)
            if stored.timer is not None:
                stored.timer.cancel()
            self._delivered.count()
            self._in_hand[stored.number] = stored
            consumer.take(stored)
        self.wake()

    def _next_consumer(self) -> MemoryConsumer | None:
        for _ in range(len(self.consumers)):
            consumer = self.consumers[0]
            self.consumers.rotate(-1)
            if consumer.has_room:
                return consumer
        return None

    def _await_expiry(self, stored: _Stored) -> None:
        if stored.expires_at is not None:
            stored.timer = asyncio.get_running_loop().call_at(stored.expires_at, self._expire, stored)

    def _expire(self, stored: _Stored) -> None:
        if self._ready.pop(stored.number, None) is not None:
            self.discard(stored, "expired")


class MemoryDelivery:
    """A message in hand (`shared.ports.Delivery`)."""

    __slots__ = ("_consumer", "_stored", "body", "reason", "redelivered", "settled")

    def __init__(self, consumer: MemoryConsumer, stored: _Stored) -> None:
        self._consumer = consumer
        self._stored = stored
        self.body = stored.body
        self.reason = stored.reason
        self.redelivered = stored.returned > 0
        self.settled = False

    def ack(self) -> None:
        if self._settle():
            self._consumer.release(self._stored)

    def reject(self, *, requeue: bool) -> None:
        if self._settle() and self._consumer.release(self._stored):
            if requeue:
                self._consumer.queue.give_back(self._stored)
            else:
                self._consumer.queue.discard(self._stored, "rejected")

    def _settle(self) -> bool:
        if self.settled:
            log.error("delivery.settled_twice", id=self._stored.id)
            return False
        self.settled = True
        return True


class MemoryConsumer:
    """See `shared.ports.Consumer`."""

    def __init__(self, queue: _Queue, prefetch: int, handle: Handle) -> None:
        self.queue = queue
        self._prefetch = prefetch
        self._handle = handle
        self._in_hand: dict[int, _Stored] = {}
        queue.consumers.append(self)
        queue.wake()

    @property
    def has_room(self) -> bool:
        return len(self._in_hand) < self._prefetch

    async def verify(self) -> None:
        if self not in self.queue.consumers:
            raise BrokerAway("This consumer was stopped")

    async def stop(self) -> None:
        if self in self.queue.consumers:
            self.queue.consumers.remove(self)

    async def close(self) -> None:
        """Stop, and give back what was not settled; settling it later does nothing."""
        await self.stop()
        in_hand, self._in_hand = self._in_hand, {}
        for stored in reversed(in_hand.values()):
            self.queue.release(stored)
            self.queue.give_back(stored)

    def take(self, stored: _Stored) -> None:
        self._in_hand[stored.number] = stored
        delivery = MemoryDelivery(self, stored)
        try:
            self._handle(delivery)
        except Exception:
            log.exception("delivery.handler_raised")
            if not delivery.settled:
                delivery.reject(requeue=False)

    def release(self, stored: _Stored) -> bool:
        """Whether it was still in hand."""
        if self._in_hand.pop(stored.number, None) is None:
            return False
        self.queue.release(stored)
        return True


class MemoryBroker:
    """One client of a `MemoryServer` (`shared.ports.Broker`)."""

    def __init__(self, server: MemoryServer, limit: int, retry_after: float, message_bytes: int) -> None:
        """``limit``: most waiting messages of a queue; ``retry_after``: seconds told to those who find it full."""
        self._server = server
        self._message_bytes = message_bytes
        self._limit = limit
        self._retry_after = retry_after
        self._consumers: list[MemoryConsumer] = []
        self._closed = False

    async def publish(self, message: Message) -> None:
        refuse_too_large(message, self._message_bytes)
        await self.ping()
        queue = self._server.declare(message.queue) if message.makes_queue else self._server.queues.get(message.queue)
        if queue is None:
            raise NoWorker(f"No worker has served {message.queue} yet; start one with: sensorium worker {message.queue}")
        if queue.ready >= self._limit:
            raise QueueFull(retry_after=self._retry_after)
        queue.add(message.id, bytes(message.body), message.expires_in)

    async def consume(self, queue: str, prefetch: int, handle: Handle) -> MemoryConsumer:
        await self.ping()
        consumer = MemoryConsumer(self._server.declare(queue), prefetch, handle)
        self._consumers.append(consumer)
        return consumer

    async def depth(self, queue: str) -> Depth:
        await self.ping()
        found = self._server.queues.get(queue)
        return Depth(0, 0) if found is None else Depth(found.ready, len(found.consumers))

    async def observe(self, queues: Sequence[str]) -> Observation:
        await self.ping()
        known = self._server.queues
        return Observation({name: known[name].facts() for name in queues if name in known})

    async def ping(self) -> None:
        if self._closed:
            raise BrokerAway("The broker was closed")

    async def close(self) -> None:
        self._closed = True
        for consumer in self._consumers:
            await consumer.close()


@asynccontextmanager
async def open_broker(settings: Settings, server: MemoryServer | None = None) -> AsyncIterator[MemoryBroker]:
    """A client of ``server``, by default of a new one with no queues."""
    broker = MemoryBroker(server or MemoryServer(), settings.queue_limit, settings.retry_after_seconds, settings.message_bytes)
    try:
        yield broker
    finally:
        await broker.close()
