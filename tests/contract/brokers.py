"""Every broker that the contract is tested on, and a consumer that keeps what it gets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import aiormq
import pytest

from shared.adapters.memory import broker as memory_broker
from shared.adapters.rabbitmq import broker as rabbitmq
from shared.ports import DEAD_LETTERS, Broker, Delivery
from shared.settings import Settings

SOON_S = 20.0
MOMENT_S = 0.3
QUEUES = ("service", "other", DEAD_LETTERS)


@dataclass(frozen=True)
class Place:
    """A server to which any number of clients connect; ``connect`` takes settings by name."""

    connect: Callable[..., AbstractAsyncContextManager[Broker]]


class Inbox:
    """What a consumer was handed, in order; nothing is settled by itself."""

    def __init__(self) -> None:
        self._arrived: asyncio.Queue[Delivery] = asyncio.Queue()

    def __call__(self, delivery: Delivery) -> None:
        self._arrived.put_nowait(delivery)

    async def next(self) -> Delivery:
        async with asyncio.timeout(SOON_S):
            return await self._arrived.get()

    async def take(self, count: int) -> list[Delivery]:
        return [await self.next() for _ in range(count)]

    async def silent(self) -> bool:
        """Whether nothing comes for a moment."""
        try:
            async with asyncio.timeout(MOMENT_S):
                await self._arrived.get()
        except TimeoutError:
            return True
        return False


async def until(check: Callable[[], Awaitable[bool]], limit_s: float = SOON_S) -> None:
    """Ask a server, which has no way to tell us, until it says yes."""
    async with asyncio.timeout(limit_s):
        while not await check():
            await asyncio.sleep(0.02)


async def remove(url: str, namespace: str, queues: Iterable[str] = QUEUES) -> None:
    """Delete the queues of a test from a server that may be somebody's."""
    connection = await aiormq.connect(url)
    channel = await connection.channel()
    for name in queues:
        await channel.queue_delete(f"{namespace}.{name}")
    await channel.exchange_delete(f"{namespace}.dead")
    await connection.close()


@pytest.fixture(params=["memory", "rabbitmq"])
async def place(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Place]:
    if request.param == "memory":
        server = memory_broker.MemoryServer()
        yield Place(lambda **given: memory_broker.open_broker(Settings(**given), server))
        return
    url = request.getfixturevalue("rabbitmq_server").url
    yield Place(lambda **given: rabbitmq.open_broker(Settings(broker=url, namespace=namespace, publish_seconds=10, **given)))
    await remove(url, namespace)


@pytest.fixture
async def broker(place: Place) -> AsyncIterator[Broker]:
    async with place.connect() as broker:
        yield broker
