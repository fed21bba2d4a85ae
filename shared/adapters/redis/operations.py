"""Workers and sessions as operators see them, in Redis.

What a worker says of itself is a string that expires; a sorted set knows when each of them does, so that nobody has to search.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from shared.adapters.redis.connection import Commands, Script
from shared.facts import UnreadableFacts, WorkerFacts, decode_worker
from shared.log import get_logger
from shared.settings import Settings

log = get_logger(__name__)

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS: workers, this worker. ARGV: identifier, what it says, time to keep (milliseconds).
_ANNOUNCE = Script.of(
    _NOW,
    """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
redis.call('ZADD', KEYS[1], now + ARGV[3], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
redis.call('SET', KEYS[2], ARGV[2], 'PX', ARGV[3])
return 1
""",
)
# KEYS: workers. ARGV: prefix of workers, most. Returns what each says.
_WORKERS = Script.of(
    _NOW,
    """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local said = {}
for _, id in ipairs(redis.call('ZREVRANGE', KEYS[1], 0, ARGV[2] - 1)) do
  local facts = redis.call('GET', ARGV[1] .. id)
  if facts then said[#said + 1] = facts end
end
return said
""",
)
# KEYS: expiries of sessions. ARGV: cursor, how many to look at. Returns the next cursor, then service, number, service, number…
_CENSUS = Script.of(
    """
local reply = redis.call('ZSCAN', KEYS[1], ARGV[1], 'COUNT', ARGV[2])
local counts, answer = {}, {reply[1]}
for i = 1, #reply[2], 2 do
  local service = string.match(reply[2][i], '^[^/]*/([^/]*)/')
  if service then counts[service] = (counts[service] or 0) + 1 end
end
for service, count in pairs(counts) do
  answer[#answer + 1] = service
  answer[#answer + 1] = count
end
return answer
"""
)
#: Workers that are listed at a time, and sessions that are counted in one step: Redis does nothing else meanwhile.
_MOST_WORKERS, _SESSIONS_AT_A_TIME = 1000, 1000


class RedisWorkers:
    """`shared.ports.WorkerRegistry` over Redis."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._all, self._prefix = f"{settings.namespace}:workers", f"{settings.namespace}:worker:"
        self._ttl = max(1, round(settings.announced_seconds * 1000))

    async def announce(self, worker: WorkerFacts) -> None:
        await self._commands.run(_ANNOUNCE, (self._all, self._prefix + worker.id), (worker.id, worker.encode(), self._ttl))

    async def withdraw(self, worker_id: str) -> None:
        self._commands.send("ZREM", self._all, worker_id)
        await self._commands.send("UNLINK", self._prefix + worker_id)

    async def workers(self) -> list[WorkerFacts]:
        found = []
        for data in await self._commands.run(_WORKERS, (self._all,), (self._prefix, _MOST_WORKERS)):
            try:
                found.append(decode_worker(data))
            except UnreadableFacts:
                log.warning("worker.unreadable")  # of a version that is not ours
        return sorted(found, key=lambda worker: (worker.started, worker.id))


class RedisCensus:
    """`shared.ports.SessionCensus` over Redis. A large set that changes while it is counted may be off by a few."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._expiries = f"{settings.namespace}:sessions"

    async def alive(self) -> Mapping[tuple[str, int], int]:
        counts: Counter[tuple[str, int]] = Counter()
        cursor = b"0"
        while True:
            cursor, *found = await self._commands.run(_CENSUS, (self._expiries,), (cursor, _SESSIONS_AT_A_TIME))
            for service, count in zip(found[::2], found[1::2], strict=True):
                name, _, version = service.decode().rpartition(".")
                counts[name, int(version)] += count
            if cursor == b"0":
                return counts
