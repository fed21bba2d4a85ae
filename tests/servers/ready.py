"""Asks a server, as a client would, whether it serves."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from urllib.parse import urlsplit

import aio_pika
import asyncpg
from aio_pika.exceptions import AMQPError
from redis.asyncio import Redis
from redis.exceptions import RedisError

PROBE_LIMIT_S = 3.0
_NOT_YET = (OSError, TimeoutError, AMQPError, RedisError, asyncpg.PostgresError, asyncpg.InterfaceError)


async def _rabbitmq(url: str) -> None:
    connection = await aio_pika.connect(url)
    async with connection:
        await connection.channel()


async def _redis(url: str) -> None:
    async with Redis.from_url(url) as client:
        await client.ping()


async def _postgresql(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("SELECT 1")
    await connection.close()


_PROBES: Mapping[str, Callable[[str], Awaitable[None]]] = MappingProxyType(
    {"rabbitmq": _rabbitmq, "redis": _redis, "postgresql": _postgresql}
)


def answers(kind: str, url: str) -> bool:
    """Whether the server of this kind ("rabbitmq", "redis", "postgresql") at `url` completes a handshake and one request."""
    if not listens(url):
        return False
    # A thread of its own, since the caller may itself run inside an event loop.
    with ThreadPoolExecutor(max_workers=1) as pool:
        return pool.submit(asyncio.run, _ask(kind, url)).result()


async def _ask(kind: str, url: str) -> bool:
    try:
        async with asyncio.timeout(PROBE_LIMIT_S):
            await _PROBES[kind](url)
    except _NOT_YET:
        return False
    return True


def listens(url: str) -> bool:
    """Whether a connection to the host and port of `url` is accepted."""
    # Refused connections are by far the commonest answer while a server starts; the client libraries would log each of them.
    parts = urlsplit(url)
    try:
        socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 0), timeout=PROBE_LIMIT_S).close()
    except OSError:
        return False
    return True
