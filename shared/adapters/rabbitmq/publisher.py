"""Confirmed publishing. What several coroutines publish in one turn of the event loop goes out as one write."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from dataclasses import replace

from aiormq import Channel, Connection
from aiormq.abc import ChannelFrame
from aiormq.exceptions import DeliveryError, PublishError
from pamqp import commands
from pamqp.body import ContentBody
from pamqp.frame import marshal
from pamqp.header import ContentHeader

from shared.adapters.rabbitmq.link import Link, answering, closed, open_channel, usable
from shared.adapters.rabbitmq.topology import Topology
from shared.errors import BrokerAway, NoWorker, QueueFull
from shared.ports import Message

_PERSISTENT = 2
#: A broker that takes nothing from the socket (stopped, or cut off without notice) is not sent more than this, in bytes.
_BACKLOG = 64 << 20
#: Between two tries to publish to a queue that was made a moment ago, in seconds.
_ELECTION_PAUSE = 0.02
#: Queues whose frames are remembered; there is one for each service.
_METHODS = 256

Confirmation = asyncio.Future[object]


class MessageEncoder:
    """Messages as the frames of AMQP's Basic.Publish."""

    def __init__(self) -> None:
        #: The first frame of a publish, which is the same for every message of a queue on a channel.
        self._methods: dict[tuple[int, str], bytes] = {}

    def frames(
        self,
        channel: Channel,
        routing_key: str,
        identifier: str,
        message: Message,
    ) -> Iterator[bytes]:
        """The method, the header and the body, in frames of at most the channel's size."""
        expires_in = message.expires_in
        expiration = None if expires_in is None else str(max(0, math.ceil(expires_in * 1000)))
        properties = commands.Basic.Properties(
            delivery_mode=_PERSISTENT,
            message_id=identifier,
            expiration=expiration,
        )
        body, size = message.body, channel.max_content_size
        yield self._method(channel, routing_key)
        yield marshal(ContentHeader(properties=properties, body_size=len(body)), channel.number)
        for start in range(0, len(body), size):
            yield marshal(ContentBody(body[start : start + size]), channel.number)

    def _method(self, channel: Channel, routing_key: str) -> bytes:
        key = (channel.number, routing_key)
        if key not in self._methods:
            if len(self._methods) >= _METHODS:
                self._methods.clear()
            publish = commands.Basic.Publish(routing_key=routing_key, mandatory=True)
            self._methods[key] = marshal(publish, channel.number)
        return self._methods[key]


class Unconfirmed:
    """Messages that were sent and not confirmed; aiormq matches confirmations with their numbers."""

    def __init__(self) -> None:
        #: By confirmation, the channel and the identifier that the message was sent with.
        self._sent: dict[Confirmation, tuple[Channel, str]] = {}

    def add(self, channel: Channel, message_id: str, confirmation: Confirmation) -> str:
        """Expect the confirmation of the channel's next message; the identifier to send it with."""
        channel.delivery_tag += 1
        tag = channel.delivery_tag
        tags = channel.message_id_delivery_tag
        identifier = message_id if message_id not in tags else f"{message_id}:{tag}"
        channel.confirmations[tag] = confirmation
        tags[identifier] = tag
        self._sent[confirmation] = (channel, identifier)
        return identifier

    def remove(self, confirmation: Confirmation) -> None:
        """The caller waits no more: a message that is returned later must not find the caller's future."""
        if sent := self._sent.pop(confirmation, None):
            channel, identifier = sent
            channel.message_id_delivery_tag.pop(identifier, None)

    def fail(self, channel: Channel) -> None:
        """The channel is lost: nothing that was sent over it is confirmed any more."""
        for confirmation, (place, _) in list(self._sent.items()):
            if place is channel and not confirmation.done():
                confirmation.set_exception(BrokerAway())


class Publisher:
    """Publishes on one channel of its link, kept open by `run`.

    aiormq's own publish takes a lock, a task group's worth of futures and a write for each message; here the
    messages of a turn of the event loop are numbered and written together.
    """

    def __init__(self, link: Link, topology: Topology, retry_after: float) -> None:
        self._link = link
        self._topology = topology
        self._retry_after = retry_after
        self._channel: Channel | None = None
        self._open = asyncio.Event()
        self._closed = False
        self._encoder = MessageEncoder()
        self._posted: list[tuple[str, Message, Confirmation]] = []
        self._unconfirmed = Unconfirmed()

    async def run(self) -> None:
        """Keep the channel until cancelled."""
        await self._link.keep("publisher", self._start)

    async def publish(self, message: Message) -> None:
        """Publish to a service's queue. Raises as `Broker.publish` does, at the latest after the link's limit."""
        try:
            await self.send(self._topology.queue(message.queue), message)
        except PublishError:
            if message.makes_queue:
                await self._make_queue(message)
                return
            raise NoWorker(f"No worker has served {message.queue} yet; start one with: sensorium worker {message.queue}") from None
        except DeliveryError:
            raise QueueFull(retry_after=self._retry_after) from None

    async def _make_queue(self, message: Message) -> None:
        """Declare the queue that there was not, and publish to it. While it elects its leader it refuses, as if it were full."""
        async with answering(self._link.limit, "declaring"):
            await self._topology.declare(await self._link.connection(), message.queue)
        loop = asyncio.get_running_loop()
        limit = loop.time() + self._link.limit
        while True:
            try:
                return await self.publish(replace(message, makes_queue=False))
            except QueueFull:
                if loop.time() > limit:
                    raise
            await asyncio.sleep(_ELECTION_PAUSE)

    async def send(self, routing_key: str, message: Message) -> None:
        """Publish to the queue of this exact name; aiormq's `PublishError` and `DeliveryError` come through."""
        confirmation: Confirmation | None = None
        try:
            async with asyncio.timeout(self._link.limit):
                await self._ready()
                confirmation = self._post(routing_key, message)
                await confirmation
        except TimeoutError as error:
            raise BrokerAway("The message broker did not confirm in time") from error
        finally:
            if confirmation is not None:
                self._unconfirmed.remove(confirmation)

    def close(self) -> None:
        """Refuse everything from now on."""
        self._closed = True
        self._open.set()

    async def _ready(self) -> None:
        while self._channel is None or not usable(self._channel):
            if self._closed:
                raise BrokerAway("The broker was closed")
            self._open.clear()
            await self._open.wait()
        # Waits while the broker has no memory or disk: it would take the message and not confirm it.
        await self._channel.connection.ready()

    def _post(self, routing_key: str, message: Message) -> Confirmation:
        loop = asyncio.get_running_loop()
        if not self._posted:
            loop.call_soon(self._flush)
        confirmation: Confirmation = loop.create_future()
        self._posted.append((routing_key, message, confirmation))
        return confirmation

    def _flush(self) -> None:
        channel = self._channel
        if channel is not None and usable(channel) and channel.write_queue.full():
            asyncio.get_running_loop().call_soon(self._flush)
            return
        posted, self._posted = self._posted, []
        wanted = [post for post in posted if not post[2].done()]
        if channel is None or not usable(channel) or self._link.backlog > _BACKLOG:
            for _, _, confirmation in wanted:
                confirmation.set_exception(BrokerAway())
            return
        payload = b"".join(part for post in wanted for part in self._expect(channel, *post))
        if payload:
            channel.write_queue.put_nowait(ChannelFrame(payload=payload, should_close=False))

    def _expect(
        self,
        channel: Channel,
        routing_key: str,
        message: Message,
        confirmation: Confirmation,
    ) -> Iterator[bytes]:
        """The frames of the channel's next message, whose confirmation is expected from now on."""
        identifier = self._unconfirmed.add(channel, message.id, confirmation)
        return self._encoder.frames(channel, routing_key, identifier, message)

    async def _start(self, connection: Connection) -> asyncio.Future[None]:
        await self._topology.declare_dead_letters(connection)
        channel = await open_channel(connection, confirms=True)
        lost = closed(channel)
        lost.add_done_callback(lambda _: self._unconfirmed.fail(channel))
        self._channel = channel
        self._open.set()
        return lost

    async def ping(self) -> None:
        """Raise `BrokerAway` unless messages could be published now."""
        async with answering(self._link.limit, "ping"):
            await self._ready()
        async with self._link.channel("ping"):
            pass
