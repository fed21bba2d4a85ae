"""Dead letters in Redis, for operators.

A hash has the letters, a sorted set their order; the message of each is a string that expires by itself, so that no input outlives
its time whatever happens here. How many bytes the messages have together is counted beside them. A letter and its message are kept in
one step: an operator may put a letter back the moment it is listed.
"""

from __future__ import annotations

import asyncio
from typing import Any

from shared.adapters.redis.connection import Commands, Lanes, Script
from shared.adapters.redis.results import ResultKeys
from shared.errors import Cancelled, NotFound, NotRequeueable
from shared.events import Requeued
from shared.facts import DeadLetter, UnreadableFacts, decode_letter
from shared.followers import stored_form
from shared.log import get_logger
from shared.reopening import NO_LETTER, WAS_CANCELLED, WAS_DONE, obstacle_of, refuse_obstacle
from shared.settings import Settings

log = get_logger(__name__)

# KEYS: letters (by time), facts, ends of messages, sizes of messages, their sum. ARGV: prefix of messages, time to keep (milliseconds), …
_PURGE = """
local letters, facts, ends, sizes, sum = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function forget_message(id)
  local size = redis.call('HGET', sizes, id)
  if size then
    redis.call('HDEL', sizes, id)
    redis.call('DECRBY', sum, size)
  end
  redis.call('ZREM', ends, id)
  redis.call('UNLINK', ARGV[1] .. id)
end
local function forget(id)
  forget_message(id)
  redis.call('HDEL', facts, id)
  return redis.call('ZREM', letters, id)
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', now)) do forget_message(id) end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', letters, '-inf', now - ARGV[2])) do forget(id) end
"""
# ARGV[3…]: identifier, letter, most letters, time to keep the message, most bytes, the message if there is one.
_KEEP = Script.of(
    _PURGE,
    """
local id, message = ARGV[3], ARGV[8]
redis.call('ZADD', letters, now, id)
redis.call('HSET', facts, id, ARGV[4])
for _, old in ipairs(redis.call('ZRANGE', letters, 0, -ARGV[5] - 1)) do forget(old) end
if message then
  forget_message(id)
  redis.call('SET', ARGV[1] .. id, message, 'PX', ARGV[6])
  redis.call('HSET', sizes, id, #message)
  redis.call('ZADD', ends, now + ARGV[6], id)
  local held = redis.call('INCRBY', sum, #message)
  while held > tonumber(ARGV[7]) do
    local oldest = redis.call('ZRANGE', ends, 0, 0)[1]
    if not oldest or oldest == id then break end
    forget_message(oldest)
    held = tonumber(redis.call('GET', sum))
  end
end
for _, key in ipairs(KEYS) do redis.call('PEXPIRE', key, ARGV[2]) end
return 1
""",
)
# ARGV[3…]: start, count. Returns how many there are, then letter, whether its message is kept, letter…
_LIST = Script.of(
    _PURGE,
    """
local answer = {redis.call('ZCARD', letters)}
if ARGV[4] == '0' then return answer end
for _, id in ipairs(redis.call('ZREVRANGE', letters, ARGV[3], ARGV[3] + ARGV[4] - 1)) do
  answer[#answer + 1] = redis.call('HGET', facts, id) or ''
  answer[#answer + 1] = redis.call('HEXISTS', sizes, id)
end
return answer
""",
)
# ARGV[3]: identifier.
_DELETE = Script.of(_PURGE, "return forget(ARGV[3])")
# KEYS: facts, list of the job, its attempts. ARGV: identifier, event, time to keep the list, channel, code of a cancelled job.
# Returns 1, or 0 (there is no letter any more), -1 (done), -2 (cancelled).
_REOPEN = Script.of(
    """
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 then return 0 end
local length = redis.call('LLEN', KEYS[2])
local last = redis.call('LINDEX', KEYS[2], -1)
if last and string.byte(last) == 49 then
  local event = cjson.decode(string.sub(last, 2))
  if event['type'] ~= 'failed' then return -1 end
  if event['code'] == ARGV[5] then return -2 end
  redis.call('LSET', KEYS[2], -1, ARGV[2])
else
  length = redis.call('RPUSH', KEYS[2], ARGV[2])
end
redis.call('PEXPIRE', KEYS[2], ARGV[3])
redis.call('DEL', KEYS[3])
redis.call('PUBLISH', ARGV[4], ARGV[1] .. ' ' .. (length - 1) .. ' ' .. ARGV[2])
return 1
"""
)
_REFUSALS = {-1: WAS_DONE, -2: WAS_CANCELLED}


class RedisLetters:
    """`shared.ports.LetterArchive` over Redis."""

    def __init__(self, commands: Commands, lanes: Lanes, results: ResultKeys, settings: Settings) -> None:
        """``lanes`` carry the messages, ``commands`` everything else."""
        self._commands, self._lanes, self._results, self._settings = commands, lanes, results, settings
        name = f"{settings.namespace}:letter"
        self._keys = [f"{name}s", f"{name}_facts", f"{name}_ends", f"{name}_sizes", f"{name}_bytes"]
        self._messages = f"{name}_message:"
        self._ttl = max(1, round(settings.dead_letter_seconds * 1000))
        self._message_ttl = round(settings.dead_letter_input_seconds * 1000)

    async def keep(self, letter: DeadLetter, message: bytes | None) -> None:
        most = self._settings.dead_letter_bytes
        arguments: list[bytes | str | int] = [letter.id, letter.encode(), self._settings.dead_letters, self._message_ttl, most]
        if message is not None and self._message_ttl and len(message) <= most:
            arguments.append(message)
        await self._run(_KEEP, *arguments, over=self._lanes)

    async def letters(self, start: int, count: int) -> tuple[int, list[tuple[DeadLetter, bool]]]:
        total, *found = await self._run(_LIST, start, count)
        listed = []
        for data, kept in zip(found[::2], found[1::2], strict=True):
            try:
                listed.append((decode_letter(data), kept == 1))
            except UnreadableFacts:
                log.warning("letter.unreadable")  # of a version that is not ours
        return total, listed

    async def reopen(self, letter_id: str, event: Requeued) -> tuple[DeadLetter, bytes]:
        data, message = await asyncio.gather(
            self._commands.send("HGET", self._keys[1], letter_id), self._lanes.send("GET", self._messages + letter_id)
        )
        if data is None:
            raise NotFound(NO_LETTER)
        letter = decode_letter(data)
        refuse_obstacle(obstacle_of(letter, message))
        if letter.kind == "job":
            await self._reopen_job(letter_id, event)
        return letter, message

    async def delete(self, letter_id: str) -> bool:
        return bool(await self._run(_DELETE, letter_id))

    async def _reopen_job(self, job_id: str, event: Requeued) -> None:
        keys = (self._keys[1], self._results.list(job_id), self._results.attempts(job_id))
        arguments = (job_id, stored_form(event), self._results.ttl, self._results.channel(job_id), Cancelled.code)
        answer = await self._commands.run(_REOPEN, keys, arguments)
        if answer == 0:
            raise NotFound(NO_LETTER)
        if answer in _REFUSALS:
            raise NotRequeueable(_REFUSALS[answer])

    def _run(self, script: Script, *arguments: bytes | str | int, over: Commands | Lanes | None = None) -> asyncio.Future[Any]:
        return (over or self._commands).run(script, self._keys, (self._messages, self._ttl, *arguments))
