"""Every message of a queue delivered twice, as a broker may: it copies what is published by means of RabbitMQ's own tracing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiormq
from aiormq.abc import DeliveredMessage
from pamqp import commands

from tests.servers import RabbitMQ


@dataclass
class Doubled:
    """The messages that were published a second time, by their ids. One that a worker sends again is not doubled anew."""

    ids: set[str] = field(default_factory=set)


@asynccontextmanager
async def doubling(server: RabbitMQ, queue: str) -> AsyncIterator[Doubled]:
    """While open, whatever is published to ``queue`` (its whole name) is published once more."""
    await asyncio.to_thread(server.ctl, "trace_on")
    connection = await aiormq.connect(server.url)
    channel = await connection.channel()
    doubled = Doubled()

    async def again(message: DeliveredMessage) -> None:
        headers = message.header.properties.headers or {}
        given = dict(headers["properties"])  # type: ignore[call-overload]
        identifier = str(given["message_id"]).partition(":")[0]
        if headers["routing_keys"] != [queue] or identifier in doubled.ids:
            return
        doubled.ids.add(identifier)
        kept = {name: given[name] for name in ("delivery_mode", "message_id", "expiration") if name in given}
        await channel.basic_publish(message.body, routing_key=queue, properties=commands.Basic.Properties(**kept))

    declared = await channel.queue_declare(exclusive=True)
    await channel.queue_bind(str(declared.queue), "amq.rabbitmq.trace", "publish.#")
    await channel.basic_consume(str(declared.queue), again, no_ack=True)
    try:
        yield doubled
    finally:
        await connection.close()
        await asyncio.to_thread(server.ctl, "trace_off")
