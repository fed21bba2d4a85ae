"""Every meter, with a clock that the test turns."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest
import redis.asyncio

from shared.adapters.memory.meter import MemoryMeter
from shared.adapters.redis import meter as redis_meter
from shared.adapters.redis.connection import Script
from shared.ports import Meter
from tests.contract.stores import redis_pair

#: 2024-02-29, a Thursday, at noon.
NOON = 1_709_208_000.0


class Time:
    """What the store's clock says."""

    def __init__(self, client: redis.asyncio.Redis | None = None, key: str = "") -> None:
        self.now = NOON
        self._client, self._key = client, key

    async def set(self, now: float) -> None:
        self.now = round(now, 6)
        if self._client is not None:
            seconds, micro = divmod(round(self.now * 1_000_000), 1_000_000)
            async with self._client.pipeline(transaction=True) as pipe:
                await pipe.delete(self._key).rpush(self._key, seconds, micro).execute()

    async def reconnect(self) -> None:
        """After the server was stopped."""
        if self._client is not None:
            await self._client.connection_pool.disconnect()

    async def pass_(self, seconds: float) -> None:
        await self.set(self.now + seconds)


@dataclass
class Meters:
    """Two processes' meters of one store; in memory there is one process, which is both."""

    one: Meter
    other: Meter
    time: Time


@asynccontextmanager
async def memory_meters() -> AsyncIterator[Meters]:
    time = Time()
    meter = MemoryMeter(lambda: time.now)
    yield Meters(meter, meter, time)


@asynccontextmanager
async def redis_meters(url: str, namespace: str, patch: pytest.MonkeyPatch) -> AsyncIterator[Meters]:
    """The server's own script, but for where it reads the time."""
    text = redis_meter._COUNT.text.removeprefix("#!lua\n")
    assert text.count("redis.call('TIME')") == 1
    patch.setattr(redis_meter, "_COUNT", Script.of(text.replace("redis.call('TIME')", "redis.call('LRANGE', KEYS[3] .. ':clock', 0, 1)")))
    async with redis_pair(url, namespace) as pair, redis.asyncio.Redis.from_url(url) as client:
        time = Time(client, f"{namespace}:unsaved:clock")
        await time.set(NOON)
        yield Meters(pair.gateway.meter, pair.worker.meter, time)
