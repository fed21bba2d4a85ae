"""What the Redis stores do when the server, the network or the callers go away."""

from __future__ import annotations

import asyncio
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import pytest
import redis.asyncio

from shared.adapters.redis import stores as redis_store
from shared.errors import StoreAway
from shared.jobs import Turn
from shared.ports import Stores
from shared.settings import Settings
from shared.usage import Allowance, DayOfUse, Known, Metered
from tests.contract.stores import OTHER_SHARD, SOON_S, Pair, chunk, done, job_id, redis_pair, started, until
from tests.faults.proxy import Proxy
from tests.servers import Server

NO_BLOB = str(uuid.UUID(int=0))
SESSION = "tenant/service.1/session"
DOOR, ALLOWANCE = Metered("account", "door"), Allowance("plan", 10, "day", "stream", paid=True)


@pytest.fixture
async def own_pair(own_redis: Server, namespace: str) -> AsyncIterator[Pair]:
    async with redis_pair(own_redis.url, namespace, store_seconds=2) as pair:
        yield pair


async def answers(stores: Stores) -> bool:
    try:
        await stores.ping()
    except StoreAway:
        return False
    return True


async def test_everything_says_so_when_the_store_is_away(own_redis: Server, own_pair: Pair) -> None:
    await own_pair.gateway.ping()
    await asyncio.to_thread(own_redis.stop)
    stores, turn = own_pair.worker, Turn(SESSION, 1)
    calls: list[Awaitable[object]] = [
        stores.ping(),
        stores.results.append([done(job_id())]),
        stores.results.events(job_id()),
        stores.results.finished([job_id()]),
        stores.results.count_attempt(job_id()),
        stores.sessions.number(SESSION),
        stores.sessions.load(SESSION),
        stores.sessions.save(turn, None, None, None),
        stores.sessions.advanced(SESSION, 1),
        stores.sessions.expired(),
        stores.blobs.put("tenant", b"data"),
        stores.blobs.get("tenant", NO_BLOB),
        stores.blobs.exists("tenant", [NO_BLOB]),
        stores.blobs.delete("tenant", NO_BLOB),
        stores.idempotency.claim("tenant", "key", "print", "job"),
        stores.idempotency.release("tenant", "key"),
        stores.meter.count(DOOR, ALLOWANCE),
        stores.meter.begin(DOOR, Known(1)),
        stores.meter.unsaved(0),
        stores.meter.saved([DayOfUse("account", "door", 1, 1)]),
    ]
    async with asyncio.timeout(SOON_S):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StoreAway] * len(calls)


async def test_opening_does_not_need_the_server(own_redis: Server, namespace: str) -> None:
    own_redis.stop()
    async with redis_pair(own_redis.url, namespace, store_seconds=2) as pair:
        assert not await answers(pair.gateway)
        await asyncio.to_thread(own_redis.start)
        await until(lambda: answers(pair.gateway))


async def test_a_restart_is_survived(own_redis: Server, own_pair: Pair) -> None:
    jobs = [job_id(), job_id(synchronous=False), job_id(shard=OTHER_SHARD)]
    await own_pair.worker.results.append([started(job) for job in jobs])
    number = await own_pair.gateway.sessions.number(SESSION)
    following = [asyncio.create_task(_follow(own_pair.gateway, job)) for job in jobs]
    parked = asyncio.create_task(own_pair.gateway.sessions.advanced(SESSION, number))
    await asyncio.wait([*following, parked], timeout=0.3)
    await asyncio.to_thread(own_redis.restart)
    await until(lambda: answers(own_pair.worker))
    await own_pair.worker.results.append([done(job) for job in jobs])
    await own_pair.worker.sessions.save(Turn(SESSION, number), await own_pair.worker.sessions.load(SESSION), b"s", None)
    async with asyncio.timeout(SOON_S):
        assert await asyncio.gather(*following) == [[0, 1]] * 3
        await parked


async def test_the_first_command_after_an_unnoticed_restart_succeeds(own_redis: Server, own_pair: Pair) -> None:
    await own_pair.worker.ping()
    await asyncio.to_thread(own_redis.restart)
    await own_pair.worker.results.append([done(job_id())])


async def _follow(stores: Stores, job: str) -> list[int]:
    async with stores.results.follow(job) as events:
        return [index async for index, _ in events]


async def test_what_was_pushed_while_the_feed_was_down_is_read(own_redis: Server, namespace: str) -> None:
    async with Proxy.before(own_redis.url) as proxy:
        settings = {"namespace": namespace, "store_seconds": 2}
        async with (
            redis_store.open_stores(Settings(store=proxy.url, **settings), 7) as gateway,  # type: ignore[arg-type]
            redis_store.open_stores(Settings(store=own_redis.url, **settings), None) as worker,  # type: ignore[arg-type]
        ):
            await gateway.ping()
            jobs = [job_id() for _ in range(50)]
            following = [asyncio.create_task(_follow(gateway, job)) for job in jobs]
            number = await gateway.sessions.number(SESSION)
            parked = asyncio.create_task(gateway.sessions.advanced(SESSION, number))
            await worker.results.append([started(job) for job in jobs])
            await asyncio.wait(following, timeout=0.2)
            proxy.refuse()
            proxy.sever()
            await worker.results.append([chunk(job, 1) for job in jobs])
            await worker.results.append([done(job) for job in jobs])
            await worker.sessions.save(Turn(SESSION, number), None, None, None)
            proxy.resume()
            async with asyncio.timeout(SOON_S):
                assert await asyncio.gather(*following) == [[0, 1, 2]] * 50
                await parked


async def test_a_server_that_says_nothing_is_noticed(own_redis: Server, namespace: str) -> None:
    async with redis_pair(own_redis.url, namespace, store_seconds=0.5) as pair:
        await pair.gateway.ping()
        job = job_id()
        following = asyncio.create_task(_follow(pair.gateway, job))
        await asyncio.wait([following], timeout=0.1)
        own_redis.pause()
        try:
            begin = time.monotonic()
            with pytest.raises(StoreAway):
                await pair.worker.results.append([done(job_id())])
            assert time.monotonic() - begin < 2
            await asyncio.sleep(1.5)  # long enough for the subscriptions' connection to be given up
        finally:
            own_redis.resume()
        await until(lambda: answers(pair.gateway))
        await until(lambda: answers(pair.worker))
        await pair.worker.results.append([done(job)])
        async with asyncio.timeout(SOON_S):
            assert await following == [0]


async def test_forgotten_scripts_are_loaded_again(own_redis: Server, own_pair: Pair) -> None:
    async with redis.asyncio.Redis.from_url(own_redis.url) as client:
        for expected in range(1, 4):
            await client.script_flush()
            numbers = await asyncio.gather(*(own_pair.gateway.sessions.number(f"s{place}") for place in range(20)))
            assert numbers == [expected] * 20


async def test_a_full_server_refuses_and_is_told_apart_from_an_error(own_redis: Server, own_pair: Pair) -> None:
    async with redis.asyncio.Redis.from_url(own_redis.url) as client:
        number = await own_pair.gateway.sessions.number(SESSION)
        await client.config_set("maxmemory", "1mb")
        job = job_id()
        with pytest.raises(StoreAway, match="refused"):
            await own_pair.worker.results.append([done(job)])
        with pytest.raises(StoreAway, match="refused"):
            await own_pair.worker.sessions.save(Turn(SESSION, number), None, None, done(job))
        await client.config_set("maxmemory", "0")
        assert await own_pair.worker.results.finished([job]) == [False]
        assert (await own_pair.worker.sessions.load(SESSION)).finished == 0
        assert await own_pair.worker.results.append([done(job)]) == [True]


async def test_a_replica_refuses_to_write(own_redis: Server, own_pair: Pair) -> None:
    async with redis.asyncio.Redis.from_url(own_redis.url) as client:
        await client.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(StoreAway):
            await own_pair.worker.results.append([done(job_id())])
        await client.execute_command("REPLICAOF", "NO", "ONE")
        assert await own_pair.worker.results.append([done(job_id())]) == [True]


async def test_lost_data_ends_a_follower_at_the_new_end(own_redis: Server, own_pair: Pair) -> None:
    job = job_id()
    following = asyncio.create_task(_follow(own_pair.gateway, job))
    await own_pair.worker.results.append([started(job), chunk(job, 0)])
    await asyncio.wait([following], timeout=0.2)
    async with redis.asyncio.Redis.from_url(own_redis.url) as client:
        await client.flushall()
    await own_pair.worker.results.append([done(job)])
    async with asyncio.timeout(SOON_S):
        assert await following == [0, 1, 0]


async def test_replies_are_never_mixed_up_by_cancelled_callers(own_redis: Server, namespace: str) -> None:
    """Ten thousand commands of many tenants over a slow link, most of them abandoned at some moment."""
    async with Proxy.before(own_redis.url) as proxy:
        settings = Settings(store=proxy.url, namespace=namespace)
        async with redis_store.open_stores(settings, None) as stores:
            blobs = {f"tenant-{place}": await stores.blobs.put(f"tenant-{place}", b"of tenant-%d" % place) for place in range(50)}
            for tenant in blobs:
                await stores.sessions.save(Turn(tenant, 1), await stores.sessions.load(tenant), b"of " + tenant.encode(), None)
            proxy.delay(0.003)
            answered, cancelled = await _abandon(stores, blobs, 10_000)
    assert cancelled > 3000
    assert answered > 1000


async def _abandon(stores: Stores, blobs: dict[str, str], count: int) -> tuple[int, int]:
    """Ask for each tenant's own data, go away at random; returns how many were answered and how many went away."""
    chance = random.Random(1)
    answered = cancelled = 0

    async def ask(tenant: str) -> bytes | None:
        if chance.random() < 0.2:
            return await stores.blobs.get(tenant, blobs[tenant])
        return (await stores.sessions.load(tenant)).state

    for _ in range(count // 100):
        tasks: dict[asyncio.Task[Any], str] = {asyncio.create_task(ask(tenant)): tenant for tenant in chance.choices(list(blobs), k=100)}
        for task in chance.sample(list(tasks), 60):
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.02), task.cancel)
        async with asyncio.timeout(SOON_S):
            await asyncio.wait(tasks)
        for task, tenant in tasks.items():
            if task.cancelled():
                cancelled += 1
            else:
                assert task.result() == b"of " + tenant.encode()
                answered += 1
    return answered, cancelled
