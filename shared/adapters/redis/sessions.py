"""Numbered frames and versioned state of sessions in Redis.

A session is a hash (numbered, finished, skipped, state, due, closing) and, while frames were given up out of turn, a
sorted set of their numbers beside it. One sorted set of the namespace says when each session falls silent: a while after
its last frame was numbered or finished, whichever was later, since a client may wait for one before it sends the next. Every
change is one script, times are the server's; the scripts' keys do not share a slot, so this is for one Redis server
and its replicas, not for a cluster.
"""

from __future__ import annotations

from dataclasses import dataclass

from shared.adapters.redis.connection import Commands, Script
from shared.adapters.redis.parked import ParkedFrames
from shared.adapters.redis.pubsub import PubSub
from shared.adapters.redis.results import APPEND, ResultKeys
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


class SessionKeys:
    """Names of keys and channels."""

    def __init__(self, namespace: str) -> None:
        self.prefix, self._given_up = f"{namespace}:session:", f"{namespace}:given_up:"
        #: The sorted set of when each session falls silent.
        self.expiries = f"{namespace}:sessions"

    def session(self, session: str) -> str:
        """The hash of a session, and its channel."""
        return self.prefix + session

    def given_up(self, session: str) -> str:
        """The numbers that were given up out of turn."""
        return self._given_up + session


@dataclass(frozen=True, slots=True)
class _Times:
    """How long things last, in milliseconds."""

    #: From the last frame to silence.
    session: int
    #: What is known of a session.
    record: int
    #: The claim on a session's closing.
    lease: int
    #: A session that could not be closed.
    closing: int
    #: A frame under way.
    job: int

    @classmethod
    def of(cls, settings: Settings, result_ms: int) -> _Times:
        session = _milliseconds(settings.session_seconds)
        lease, closing = settings.closing_lease_seconds, settings.closing_seconds
        job = _milliseconds(settings.deadline_seconds)
        return cls(session, session + result_ms, _milliseconds(lease), _milliseconds(closing), job)


class RedisSessions:
    """`shared.ports.SessionStore` over Redis."""

    def __init__(self, commands: Commands, pubsub: PubSub, results: ResultKeys, settings: Settings) -> None:
        self._commands, self._results = commands, results
        self._keys = SessionKeys(settings.namespace)
        self._times = _Times.of(settings, results.ttl)
        self._parked = ParkedFrames(pubsub, self._keys.session, self._read_finished)

    async def number(self, session: str) -> int:
        keys = (self._keys.session(session), self._keys.expiries)
        arguments = (session, self._times.session, self._times.record)
        return int(await self._commands.run(_NUMBER, keys, arguments))

    async def load(self, session: str) -> Snapshot:
        key = self._keys.session(session)
        reply = await self._commands.send("HMGET", key, "state", "finished", "numbered", "skipped")
        state, finished, numbered, skipped = reply
        return Snapshot(state, int(finished or 0), int(numbered or 0), int(skipped or 0))

    async def save(self, turn: Turn, seen: Snapshot | None, state: bytes | None, entry: Entry | None) -> bool:
        session = self._keys.session(turn.session)
        keys = [session, self._keys.given_up(turn.session), self._keys.expiries]
        arguments: list[bytes | str | int] = [
            turn.number,
            "" if seen is None else seen.finished,
            int(turn.closing),
            int(state is not None),
            state or b"",
            turn.session,
            self._times.session,
            self._times.record,
            session,
        ]
        if entry is not None:
            keys.append(self._results.list(entry.job_id))
            arguments.extend((*self._results.pushed(entry), self._results.ttl))
        return bool(await self._commands.run(_SAVE, keys, arguments))

    async def advanced(self, session: str, number: int) -> None:
        await self._parked.wait(session, number)

    async def expired(self, *, every: bool = False) -> list[Turn]:
        most, times = -1 if every else _CLAIMS_AT_A_TIME, self._times
        arguments = (self._keys.prefix, times.lease, times.closing, times.job, most, int(every))
        reply = await self._commands.run(_EXPIRED, (self._keys.expiries,), arguments)
        claimed = zip(reply[::2], reply[1::2], strict=True)
        return [Turn(name.decode(), number, closing=True) for name, number in claimed]

    async def close(self) -> None:
        """Ask for nothing any more; whoever waits for a frame is bounded by its caller."""
        await self._parked.close()

    async def _read_finished(self, session: str) -> bytes | None:
        finished: bytes | None = await self._commands.send("HGET", self._keys.session(session), "finished")
        return finished


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))
