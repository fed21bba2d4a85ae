"""The queues and the exchange of an installation in RabbitMQ, by name and kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aiormq import Connection
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed
from pamqp.common import FieldValue

from shared.adapters.rabbitmq.link import open_channel, usable
from shared.log import get_logger
from shared.ports import DEAD_LETTERS

log = get_logger(__name__)

#: Attempts are counted by the workers; this only ends what somehow escapes their count.
DELIVERY_LIMIT = 100
#: The dead letters are the last place: from there nothing may be dropped for being tried too often (RabbitMQ 4 drops after 20).
_NO_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Topology:
    """Names under one namespace. ``limit``: most messages of a service's queue, beyond which publishing is refused."""

    namespace: str
    limit: int

    def queue(self, name: str) -> str:
        return f"{self.namespace}.{name}"

    @property
    def dead_exchange(self) -> str:
        return f"{self.namespace}.dead"

    def arguments(self, name: str) -> Mapping[str, FieldValue]:
        """The arguments of a queue; they are part of its identity and cannot be changed once it exists."""
        if name == DEAD_LETTERS:
            return {"x-queue-type": "quorum", "x-delivery-limit": _NO_LIMIT}
        return {
            "x-queue-type": "quorum",
            "x-max-length": self.limit,
            "x-overflow": "reject-publish",
            "x-delivery-limit": DELIVERY_LIMIT,
            "x-dead-letter-exchange": self.dead_exchange,
            # A dead letter leaves its queue only once the dead-letter queue has confirmed it; needs reject-publish above.
            "x-dead-letter-strategy": "at-least-once",
        }

    async def declare(self, connection: Connection, name: str) -> None:
        """Make the queue unless it exists. The exceptions are aiormq's."""
        channel = await open_channel(connection)
        try:
            await channel.queue_declare(self.queue(name), durable=True, arguments=dict(self.arguments(name)))
        except ChannelPreconditionFailed:
            # Made with another limit. It holds jobs, so it is used as it is rather than not at all.
            if not await self.exists(connection, name):
                raise
            log.warning("broker.queue_differs", queue=self.queue(name), wanted=dict(self.arguments(name)))
        finally:
            if usable(channel):
                await channel.close()

    async def declare_dead_letters(self, connection: Connection) -> None:
        """The exchange that takes dead letters, and their queue behind it."""
        await self.declare(connection, DEAD_LETTERS)
        channel = await open_channel(connection)
        try:
            await channel.exchange_declare(self.dead_exchange, exchange_type="fanout", durable=True)
            await channel.queue_bind(self.queue(DEAD_LETTERS), self.dead_exchange)
        finally:
            if usable(channel):
                await channel.close()

    async def exists(self, connection: Connection, name: str) -> bool:
        channel = await open_channel(connection)
        try:
            await channel.queue_declare(self.queue(name), passive=True)
        except ChannelNotFoundEntity:
            return False
        else:
            return True
        finally:
            if usable(channel):
                await channel.close()
