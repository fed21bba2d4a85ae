"""Whether a channel really delivers, found out by a delivery."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Callable

from aiormq import Channel
from aiormq.abc import DeliveredMessage

from shared.adapters.rabbitmq.publisher import Publisher
from shared.ports import Message


class Probe:
    """A private queue with one message, which `echo` takes over the channel in question and puts back.

    So the question needs no management plugin and, but for the first time, no publishing: it is answered while the broker
    refuses messages for lack of memory, too. The queue ends with the connection.
    """

    def __init__(self, channel: Channel, take: Callable[[int], None], reject: Callable[[int, bool], None]) -> None:
        """``take`` and ``reject`` are the channel's bookkeeping of delivery tags, which the probe's are among."""
        self._channel = channel
        self._take = take
        self._reject = reject
        self._queue = f"probe-{uuid.uuid4().hex}"
        self._armed = False

    async def declare(self) -> None:
        await self._channel.queue_declare(self._queue, exclusive=True)

    async def arm(self, publisher: Publisher) -> None:
        """Put the message there. Raises `BrokerAway` while the broker takes none."""
        if not self._armed:
            await publisher.send(self._queue, Message(queue="", body=b"", id=self._queue))
            self._armed = True

    async def echo(self) -> None:
        """Return once the message came; the caller bounds the wait."""
        came: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        async def arrived(message: DeliveredMessage) -> None:
            tag = message.delivery_tag or 0
            self._take(tag)
            if came.done():
                self._reject(tag, True)
            else:
                came.set_result(tag)

        await self._channel.basic_consume(self._queue, arrived, consumer_tag=self._queue)
        tag = await came
        # Put back only when nobody listens any more, or it would come again at once, and again.
        await self._channel.basic_cancel(self._queue)
        self._reject(tag, True)
