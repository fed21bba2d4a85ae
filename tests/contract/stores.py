"""Every store that the contract is tested on, as a gateway and a worker see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import NamedTuple, TypeAlias

import pytest
import redis.asyncio

from shared.adapters.memory import store as memory_store
from shared.adapters.redis import stores as redis_store
from shared.events import Chunk, Done, Failed, Started
from shared.job_ids import JobIds
from shared.ports import Entry, Stores
from shared.settings import Settings

SOON_S = 20.0
MOMENT_S = 0.3
SHARD, OTHER_SHARD = 7, 8


class Pair(NamedTuple):
    """Two processes on one store; in memory there is one process, which is both."""

    gateway: Stores
    worker: Stores


OpenPair: TypeAlias = Callable[..., AbstractAsyncContextManager[Pair]]


def job_id(*, synchronous: bool = True, shard: int = SHARD) -> str:
    return JobIds(b"k" * 32, shard).make("tenant/service.1", synchronous=synchronous)


def done(job: str, answer: object = 1) -> Entry:
    return Entry(job, Done(time.time(), {"answer": answer}))


def failed(job: str) -> Entry:
    return Entry(job, Failed(time.time(), "service_failed", "no"))


def started(job: str) -> Entry:
    return Entry(job, Started(time.time()))


def chunk(job: str, part: int) -> Entry:
    return Entry(job, Chunk(time.time(), {"part": part}))


async def until(check: Callable[[], Awaitable[bool]], limit_s: float = SOON_S) -> None:
    """Ask until it says yes: time passing has no event."""
    async with asyncio.timeout(limit_s):
        while not await check():
            await asyncio.sleep(0.01)


@asynccontextmanager
async def memory_pair(namespace: str, **changes: object) -> AsyncIterator[Pair]:
    settings = Settings(namespace=namespace, **changes)  # type: ignore[arg-type]
    async with memory_store.open_stores(settings, SHARD) as stores:
        yield Pair(stores, stores)


@asynccontextmanager
async def redis_pair(url: str, namespace: str, **changes: object) -> AsyncIterator[Pair]:
    settings = Settings(store=url, namespace=namespace, **changes)  # type: ignore[arg-type]
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(redis_store.open_stores(settings, SHARD))
        worker = await stack.enter_async_context(redis_store.open_stores(settings, None))
        yield Pair(gateway, worker)


async def keys_of(url: str, namespace: str) -> list[bytes]:
    async with redis.asyncio.Redis.from_url(url) as client:
        return [key async for key in client.scan_iter(f"{namespace}:*", count=1000)]


async def remove(url: str, namespace: str) -> None:
    """Delete the keys of a test from a server that may be somebody's."""
    keys = await keys_of(url, namespace)
    async with redis.asyncio.Redis.from_url(url) as client:
        for start in range(0, len(keys), 1000):
            await client.delete(*keys[start : start + 1000])


@pytest.fixture(params=["memory", "redis"])
async def open_pair(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[OpenPair]:
    """``open_pair(**settings)`` opens the stores of a gateway and a worker with these settings."""
    if request.param == "memory":
        yield lambda **changes: memory_pair(namespace, **changes)
        return
    url = request.getfixturevalue("redis_server").url
    yield lambda **changes: redis_pair(url, namespace, **changes)
    await remove(url, namespace)


@pytest.fixture
async def pair(open_pair: OpenPair) -> AsyncIterator[Pair]:
    async with open_pair() as opened:
        yield opened
