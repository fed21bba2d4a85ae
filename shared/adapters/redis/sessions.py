"""Numbered frames and versioned state of sessions in Redis.

A session is a hash (numbered, finished, skipped, state, due, closing) and, while frames were given up out of turn, a
sorted set of their numbers beside it. One sorted set of the namespace says when each session falls silent: a while after
its last frame was numbered or finished, whichever was later, since a client may wait for one before it sends the next. Every
change is one script, times are the server's; the scripts' keys do not share a slot, so this is for one Redis server
and its replicas, not for a cluster.
"""

from __future__ import annotations

import asyncio
from functools import partial

from shared.adapters.redis.connection import Commands, Script
from shared.adapters.redis.pubsub import PubSub
from shared.adapters.redis.results import APPEND, ResultKeys
from shared.aio import BackgroundTasks, backoff
from shared.errors import StoreAway
from shared.jobs import Turn
from shared.ports import Entry, Snapshot
from shared.settings import Settings

_NOW = """
local function now()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end
"""
# KEYS: session, expiries. ARGV: name, session time, record time (milliseconds).
# While the closing of the session is under way its lease stays in the expiries.
_NUMBER = Script.of(
    _NOW,
    """
local number = redis.call('HINCRBY', KEYS[1], 'numbered', 1)
local due = now() + ARGV[2]
redis.call('HSET', KEYS[1], 'due', due)
if redis.call('HEXISTS', KEYS[1], 'closing') == 0 then redis.call('ZADD', KEYS[2], due, ARGV[1]) end
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return number
""",
)
# KEYS: session, given up, expiries, list of the job (if any). ARGV: number, finished as seen ('' to give up), closing,
# state kept (1 or 0), state, name, session time, record time, session's channel, then job, channel, event, time to keep it.
# A number that was never given (the store lost its data) is taken as given, so that the session goes on after it.
_SAVE = Script.of(
    APPEND,
    _NOW,
    """
local number, session, ahead = tonumber(ARGV[1]), KEYS[1], KEYS[2]
local fields = redis.call('HMGET', session, 'numbered', 'finished', 'skipped', 'closing')
local numbered, before, skipped = tonumber(fields[1] or 0), tonumber(fields[2] or 0), tonumber(fields[3] or 0)
local closing, finished, forget = tonumber(fields[4] or 0), before, false
if ARGV[2] ~= '' then
  if tonumber(ARGV[2]) ~= before or number <= before then return 0 end
end
if #KEYS == 4 then append(KEYS[4], ARGV[10], ARGV[11], ARGV[12], ARGV[13]) end
if number <= before then return 1 end
if ARGV[3] == '1' then closing = number end
if number > numbered then numbered = number end
if ARGV[2] ~= '' then
  finished, skipped, forget = number, 0, ARGV[3] == '1'
  redis.call('ZREMRANGEBYSCORE', ahead, '-inf', number)
  if ARGV[4] == '1' then redis.call('HSET', session, 'state', ARGV[5]) else redis.call('HDEL', session, 'state') end
else
  redis.call('ZADD', ahead, number, number)
  redis.call('PEXPIRE', ahead, ARGV[8])
end
while redis.call('ZREM', ahead, finished + 1) == 1 do
  finished, skipped = finished + 1, skipped + 1
  if finished == closing then skipped, forget = 0, true end
end
if forget then redis.call('HDEL', session, 'state') end
local due = now() + ARGV[7]
redis.call('HSET', session, 'numbered', numbered, 'finished', finished, 'skipped', skipped, 'due', due)
if closing == 0 then
  redis.call('ZADD', KEYS[3], due, ARGV[6])
elseif closing > finished then
  redis.call('HSET', session, 'closing', closing)
else
  redis.call('HDEL', session, 'closing')
  if numbered > closing then redis.call('ZADD', KEYS[3], due, ARGV[6]) else redis.call('ZREM', KEYS[3], ARGV[6]) end
end
redis.call('PEXPIRE', session, ARGV[8])
if finished > before then redis.call('PUBLISH', ARGV[9], finished) end
return 1
""",
)
# KEYS: expiries. ARGV: prefix of sessions, lease, time to keep a session that is not closed, time of a job (milliseconds), most
# (-1 for all), whether every session is meant (1 or 0).
# Returns name, number, name, number… A session whose frames are under way is asked again when it is due by the end of one of
# them, at the latest when they must have ended.
_EXPIRED = Script.of(
    _NOW,
    """
local found, time = {}, now()
local until_then = ARGV[6] == '1' and '+inf' or time
for _, name in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', until_then, 'LIMIT', 0, ARGV[5])) do
  local session = ARGV[1] .. name
  local fields = redis.call('HMGET', session, 'closing', 'due', 'numbered', 'finished')
  local closing, due = fields[1], tonumber(fields[2] or time)
  local ended, left = due + ARGV[4], due + ARGV[3] - time
  if redis.call('EXISTS', session) == 0 then
    redis.call('ZREM', KEYS[1], name)
  elseif ARGV[6] == '0' and not closing and tonumber(fields[3] or 0) > tonumber(fields[4] or 0) and time < ended then
    redis.call('ZADD', KEYS[1], ended, name)
  else
    if not closing then
      closing = redis.call('HINCRBY', session, 'numbered', 1)
      redis.call('HSET', session, 'closing', closing)
    end
    if left > redis.call('PTTL', session) then redis.call('PEXPIRE', session, left) end
    redis.call('ZADD', KEYS[1], time + ARGV[2], name)
    found[#found + 1] = name
    found[#found + 1] = tonumber(closing)
  end
end
return found
""",
)
#: Closing turns handed out at a time; the next call hands out more.
_CLAIMS_AT_A_TIME = 100


class RedisSessions:
    """`shared.ports.SessionStore` over Redis."""

    def __init__(self, commands: Commands, pubsub: PubSub, results: ResultKeys, settings: Settings) -> None:
        self._commands, self._pubsub, self._results = commands, pubsub, results
        self._prefix, self._expiries = f"{settings.namespace}:session:", f"{settings.namespace}:sessions"
        self._ahead = f"{settings.namespace}:given_up:"
        self._session_ms = max(1, round(settings.session_seconds * 1000))
        self._record_ms = self._session_ms + results.ttl
        self._lease_ms = max(1, round(settings.closing_lease_seconds * 1000))
        self._closing_ms = max(1, round(settings.closing_seconds * 1000))
        self._job_ms = max(1, round(settings.deadline_seconds * 1000))
        self._parked: dict[str, list[tuple[int, asyncio.Future[None]]]] = {}
        self._reading = BackgroundTasks()
        pubsub.on_resume(self._resume)

    async def number(self, session: str) -> int:
        arguments = (session, self._session_ms, self._record_ms)
        return int(await self._commands.run(_NUMBER, (self._prefix + session, self._expiries), arguments))

    async def load(self, session: str) -> Snapshot:
        reply = await self._commands.send("HMGET", self._prefix + session, "state", "finished", "numbered", "skipped")
        state, finished, numbered, skipped = reply
        return Snapshot(state, int(finished or 0), int(numbered or 0), int(skipped or 0))

    async def save(self, turn: Turn, seen: Snapshot | None, state: bytes | None, entry: Entry | None) -> bool:
        session = self._prefix + turn.session
        keys = [session, self._ahead + turn.session, self._expiries]
        arguments: list[bytes | str | int] = [
            turn.number,
            "" if seen is None else seen.finished,
            int(turn.closing),
            int(state is not None),
            state or b"",
            turn.session,
            self._session_ms,
            self._record_ms,
            session,
        ]
        if entry is not None:
            keys.append(self._results.list(entry.job_id))
            arguments.extend((*self._results.pushed(entry), self._results.ttl))
        return bool(await self._commands.run(_SAVE, keys, arguments))

    async def advanced(self, session: str, number: int) -> None:
        channel = self._pubsub.acquire(self._prefix + session, partial(self._advance, session))
        parked = (number, asyncio.get_running_loop().create_future())
        self._parked.setdefault(session, []).append(parked)
        try:
            await self._pubsub.confirmed(channel)
            await self._read(session)
            await parked[1]
        finally:
            self._pubsub.release(channel)
            self._leave(session, parked)

    async def expired(self, *, every: bool = False) -> list[Turn]:
        most = -1 if every else _CLAIMS_AT_A_TIME
        arguments = (self._prefix, self._lease_ms, self._closing_ms, self._job_ms, most, int(every))
        reply = await self._commands.run(_EXPIRED, (self._expiries,), arguments)
        return [Turn(name.decode(), number, closing=True) for name, number in zip(reply[::2], reply[1::2], strict=True)]

    async def close(self) -> None:
        """Give up what `_resume` began; whoever is parked is bounded by its caller."""
        await self._reading.cancel()

    async def _read(self, session: str) -> None:
        self._advance(session, await self._commands.send("HGET", self._prefix + session, "finished") or b"0")

    def _advance(self, session: str, finished: bytes) -> None:
        reached = int(finished)
        for number, future in self._parked.get(session, ()):
            if number <= reached and not future.done():
                future.set_result(None)

    def _leave(self, session: str, parked: tuple[int, asyncio.Future[None]]) -> None:
        waiting = self._parked[session]
        waiting.remove(parked)
        if not waiting:
            del self._parked[session]

    def _resume(self) -> None:
        """Messages may have been lost: ask for each session in which a frame is parked."""
        for session in self._parked:
            self._reading.start(self._read_again(session))

    async def _read_again(self, session: str) -> None:
        failures = 0
        while session in self._parked:
            try:
                return await self._read(session)
            except StoreAway:
                await asyncio.sleep(backoff(failures))
                failures += 1
