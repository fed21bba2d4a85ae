"""The event list of each job in Redis: a list a job, pushed over the channel of the job's shard."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from shared.adapters.redis.connection import Commands, Script
from shared.adapters.redis.event_pushes import EventPushes
from shared.adapters.redis.pubsub import PubSub
from shared.events import Event
from shared.followers import PIECE_GONE, Follower, Followers, stored_event, stored_form
from shared.ports import Entry

_GONE = PIECE_GONE.decode()
#: Appends unless the last event is final (mark "1"), and pushes "job index event". Used by the sessions' script too.
#: Pieces of an answer are in a hash beside the list, by their index, which ends sooner once the job has (`piece_ttl`).
APPEND = f"""
local function append(list, job, channel, event, ttl, piece_ttl)
  local last = redis.call('LINDEX', list, -1)
  if last and string.byte(last) == 49 then return 0 end
  local is_piece = string.sub(event, 1, 16) == '0{{"type":"chunk"'
  local length = redis.call('RPUSH', list, is_piece and '{_GONE}' or event)
  redis.call('PEXPIRE', list, ttl)
  if is_piece then
    redis.call('HSET', list .. ':pieces', length - 1, event)
    redis.call('PEXPIRE', list .. ':pieces', ttl)
  elseif piece_ttl and length > 1 and string.byte(event) == 49 then
    redis.call('PEXPIRE', list .. ':pieces', piece_ttl)
  end
  redis.call('PUBLISH', channel, job .. ' ' .. (length - 1) .. ' ' .. event)
  return 1
end
"""
_APPEND_ALL = Script.of(
    APPEND,
    """
local done = {}
for i = 1, #KEYS do
  done[i] = append(KEYS[i], ARGV[3 * i], ARGV[3 * i + 1], ARGV[3 * i + 2], ARGV[1], ARGV[2])
end
return done
""",
)
# ARGV: index of the first event. The list from there on, with the pieces that are kept.
_READ = Script.of(
    f"""
local events = redis.call('LRANGE', KEYS[1], ARGV[1], -1)
local before = redis.call('LLEN', KEYS[1]) - #events
for i, event in ipairs(events) do
  if event == '{_GONE}' then events[i] = redis.call('HGET', KEYS[1] .. ':pieces', before + i - 1) or event end
end
return events
"""
)
_FINISHED = Script.of(
    """
local done = {}
for i = 1, #KEYS do
  local last = redis.call('LINDEX', KEYS[i], -1)
  done[i] = (last and string.byte(last) == 49) and 1 or 0
end
return done
"""
)
#: Entries of one script call: it holds up everybody else's commands while it runs.
_ENTRIES_AT_A_TIME = 64
#: The last byte of an identifier says that its caller waits (see `shared.job_ids`).
_SYNCHRONOUS = "01"


class ResultKeys:
    """Names of lists and channels."""

    def __init__(self, namespace: str, result_seconds: float, piece_seconds: float) -> None:
        self._list, self._attempts, self._channel = f"{namespace}:job:", f"{namespace}:attempts:", f"{namespace}:events:"
        self.ttl = max(1, round(result_seconds * 1000))
        self.piece_ttl = min(self.ttl, max(1, round(piece_seconds * 1000)))

    def list(self, job_id: str) -> str:
        return self._list + job_id

    def attempts(self, job_id: str) -> str:
        return self._attempts + job_id

    def channel(self, job_id: str) -> str:
        """By the shard and the flags of the identifier: a gateway does not hear of jobs for which nobody waits."""
        return self._channel + job_id[32:36]

    def waited_for(self, shard: int) -> str:
        """The channel of the jobs that a gateway of this shard makes and waits for."""
        return f"{self._channel}{shard:02x}{_SYNCHRONOUS}"

    def pushed(self, entry: Entry) -> tuple[str, str, bytes]:
        """Job, channel and stored form: what the function ``append`` of the scripts takes besides the list's key."""
        return entry.job_id, self.channel(entry.job_id), stored_form(entry.event)


class RedisResults:
    """`shared.ports.ResultStore` over Redis: the lists. `EventPushes` follows what is pushed."""

    def __init__(self, commands: Commands, pubsub: PubSub, keys: ResultKeys, shard: int | None) -> None:
        """``shard``: this process's own, None for one that makes no jobs."""
        self._commands, self._keys = commands, keys
        self._followers = Followers(self._read_lists)
        own = None if shard is None else keys.waited_for(shard)
        self._pushes = EventPushes(pubsub, self._followers, self._read, keys.channel, own)

    async def append(self, entries: Sequence[Entry]) -> list[bool]:
        size = _ENTRIES_AT_A_TIME
        parts = [self._append_part(entries[i : i + size]) for i in range(0, len(entries), size)]
        if len(parts) == 1:
            return [written == 1 for written in await parts[0]]
        return [written == 1 for replies in await asyncio.gather(*parts) for written in replies]

    async def events(self, job_id: str, start: int = 0) -> list[Event]:
        return [stored_event(data) for data in await self._read(job_id, start)]

    async def finished(self, job_ids: Sequence[str]) -> list[bool]:
        if not job_ids:
            return []
        reply = await self._commands.run(_FINISHED, [self._keys.list(job_id) for job_id in job_ids], ())
        return [ended == 1 for ended in reply]

    async def count_attempt(self, job_id: str, change: int = 1) -> int:
        key = self._keys.attempts(job_id)
        counting = self._commands.send("INCRBY", key, change)
        keeping = self._commands.send("PEXPIRE", key, self._keys.ttl)
        count, _ = await asyncio.gather(counting, keeping)
        return int(count)

    def follow(self, job_id: str) -> Follower:
        return self._pushes.follow(job_id)

    async def check(self) -> None:
        """Raise `StoreAway` when a process that waits for results does not hear of them."""
        await self._pushes.check()

    async def close(self) -> None:
        await self._followers.close()

    def _append_part(self, entries: Sequence[Entry]) -> asyncio.Future[list[int]]:
        arguments: list[bytes | str | int] = [self._keys.ttl, self._keys.piece_ttl]
        for entry in entries:
            arguments.extend(self._keys.pushed(entry))
        lists = [self._keys.list(entry.job_id) for entry in entries]
        return self._commands.run(_APPEND_ALL, lists, arguments)

    async def _read_lists(self, places: Sequence[tuple[str, int]]) -> Sequence[Sequence[bytes]]:
        return list(await asyncio.gather(*(self._read(job_id, start) for job_id, start in places)))

    async def _read(self, job_id: str, start: int) -> Sequence[bytes]:
        """The list from an index on. Most have no pieces, which are asked for in a second step."""
        name = self._keys.list(job_id)
        events: Sequence[bytes] = await self._commands.send("LRANGE", name, start, -1)
        if PIECE_GONE in events:
            events = await self._commands.run(_READ, [name], [start])
        return events
