"""What store and broker carry by themselves, with nobody who computes: the bound of an installation with one of each.

Redis: number, load and save of a frame's session, with an answer of 1 kB and a state of 1.2 kB, by 64
clients in turns of one process. RabbitMQ: messages of the size of a frame through one quorum queue, published with confirms and acknowledged.
CPU time is the server's own; frames a second and core are what that time allows, whatever the rate was.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial

from bench.processes import Group
from bench.systems import Servers
from sensorium.processes.adapters import open_broker, open_stores
from shared.events import Done
from shared.jobs import Turn
from shared.ports import Broker, Delivery, Entry, Message, Stores
from shared.settings import Settings, read_settings

CLIENTS = 64
SIZES = (600, 9_000, 57_000)
_ANSWER, _STATE = {"entities": {"x": "y" * 980}}, b"s" * 1200
_QUEUE = "bench"


def table(servers: Servers, seconds: float) -> str:
    """A row for Redis, and one for RabbitMQ with each size."""
    settings = read_settings(
        {}, broker=servers.broker, store=servers.store, namespace=f"bench-{uuid.uuid4().hex[:8]}", queue_limit=1_000_000, prefetch=CLIENTS
    )
    rows = ["| server | a message | rate | CPU ms of the server each | a second and core |", "|---|---|---:|---:|---:|"]
    rows.append(asyncio.run(_redis(settings, servers.groups["redis"], seconds)))
    rows += [asyncio.run(_rabbitmq(settings, servers.groups["broker"], size, seconds)) for size in SIZES]
    return "\n".join(rows)


async def _redis(settings: Settings, group: Group, seconds: float) -> str:
    async with AsyncExitStack() as stack:
        stores = await stack.enter_async_context(open_stores(settings, None))
        sessions = [f"tenant/scene_analysis.1/{number}" for number in range(CLIENTS)]
        return await _measured("Redis | a frame's session", group, seconds, [partial(_frame, stores, session) for session in sessions])


async def _frame(stores: Stores, session: str) -> None:
    number = await stores.sessions.number(session)
    seen = await stores.sessions.load(session)
    entry = Entry(f"{session}-{number}", Done(time.time(), _ANSWER))
    if not await stores.sessions.save(Turn(session, number), seen, _STATE, entry):
        raise RuntimeError("the store refused a frame whose turn it was")


async def _rabbitmq(settings: Settings, group: Group, size: int, seconds: float) -> str:
    name, body = f"{_QUEUE}-{size}", bytes(size)
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(open_broker(settings))
        consumer = await broker.consume(name, CLIENTS, _acknowledge)
        stack.push_async_callback(consumer.stop)
        return await _measured(f"RabbitMQ | {size:,} bytes", group, seconds, [partial(_message, broker, name, body)] * CLIENTS)


def _acknowledge(delivery: Delivery) -> None:
    delivery.ack()


async def _message(broker: Broker, name: str, body: bytes) -> None:
    await broker.publish(Message(name, body, uuid.uuid4().hex))


async def _measured(name: str, group: Group, seconds: float, clients: Sequence[Callable[[], Awaitable[None]]]) -> str:
    done = 0

    async def client(once: Callable[[], Awaitable[None]]) -> None:
        nonlocal done
        while time.monotonic() < end:
            await once()
            done += 1

    begin, before = time.monotonic(), group.cpu_seconds()
    end = begin + seconds
    await asyncio.gather(*map(client, clients))
    spent, wall = group.cpu_seconds() - before, time.monotonic() - begin
    return f"| {name} | {done / wall:,.0f} | {1000 * spent / done:.3f} | {done / spent:,.0f} |"
