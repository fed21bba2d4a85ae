"""Results, sessions, streams, blobs, idempotency keys, counted seconds and what operators see in one Redis server (7.0 or newer).

A process holds one connection for commands, one for what Redis pushes (once it follows something) and a few for blobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from shared.adapters.redis.blobs import RedisBlobs, RedisIdempotency
from shared.adapters.redis.connection import Commands, Lanes, make_pool
from shared.adapters.redis.letters import RedisLetters
from shared.adapters.redis.meter import RedisMeter
from shared.adapters.redis.operations import RedisCensus, RedisWorkers
from shared.adapters.redis.pubsub import PubSub
from shared.adapters.redis.results import RedisResults, ResultKeys
from shared.adapters.redis.sessions import RedisSessions
from shared.adapters.redis.streams import RedisStreams
from shared.ports import Stores
from shared.settings import Settings


@asynccontextmanager
async def open_stores(settings: Settings, shard: int | None) -> AsyncIterator[Stores]:
    """The stores behind ``settings.store``. Nothing is asked of the server yet: ``ping`` says whether it answers.

    ``shard``: whose events this process waits for, None for a worker.
    """
    pool = make_pool(settings.store, settings.store_seconds)
    async with AsyncExitStack() as open_things:
        commands = Commands(pool, settings.store_seconds)
        open_things.push_async_callback(commands.close)
        lanes = Lanes(pool, settings.store_seconds)
        open_things.push_async_callback(lanes.close)
        pubsub = PubSub(pool, settings.store_seconds)
        open_things.push_async_callback(pubsub.close)
        keys = ResultKeys(settings.namespace, settings.result_seconds, settings.piece_seconds)
        results = RedisResults(commands, pubsub, keys, shard)
        open_things.push_async_callback(results.close)
        sessions = RedisSessions(commands, pubsub, keys, settings)
        open_things.push_async_callback(sessions.close)
        streams = RedisStreams(commands, pubsub, settings)
        open_things.callback(streams.close)

        async def ping() -> None:
            await commands.send("PING")
            await results.check()

        yield Stores(
            results=results,
            sessions=sessions,
            streams=streams,
            blobs=RedisBlobs(commands, lanes, settings),
            idempotency=RedisIdempotency(commands, settings),
            meter=RedisMeter(commands, settings),
            workers=RedisWorkers(commands, settings),
            census=RedisCensus(commands, settings),
            letters=RedisLetters(commands, lanes, keys, settings),
            ping=ping,
        )
