"""Seconds of stream, counted in Redis: one script a second and stream in each process that lets its jobs in.

A stream and an account are a hash each: seconds on the day and in the month of the last count, and of a stream the last
second that was counted. One hash of the namespace holds what is to be saved in the database. Times are the server's, so
gateways need not agree on theirs; the calendar is the caller's, since Redis knows none. Whatever is lost or forgotten
here is begun again from the database.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from shared.adapters.redis.connection import Commands, Script
from shared.settings import Settings
from shared.usage import DAY_SECONDS, Allowance, Count, DayOfUse, Known, Metered, day_of, month_of

#: A stream that sends nothing for so long is begun again from the database, in seconds. Longer than a month.
_KEEP_SECONDS = 40 * DAY_SECONDS
# What became of a count: 0 is refused.
_GRANTED, _UNKNOWN, _ANOTHER_MONTH = 1, 2, 3
#: Days of use in one answer of `unsaved`.
_MOST = 5000

# KEYS: stream, account, unsaved. ARGV: begin and end of the month as the caller sees it, seconds allowed ('' without limit),
# period, scope, name of the stream among the unsaved, seconds to keep. Returns what became of it, seconds used, the time.
_COUNT = Script.of(
    """
local time = redis.call('TIME')
local now, month = tonumber(time[1]), tonumber(ARGV[1])
local day = math.floor(now / 86400)
local function answer(what, used) return {what, used, now, tonumber(time[2])} end
if now < month or now >= tonumber(ARGV[2]) then return answer(3, 0) end
local function counted(key)
  local fields = redis.call('HMGET', key, 'day', 'today', 'month', 'this_month', 'last')
  if not fields[1] then return nil end
  local today, this_month = 0, 0
  if tonumber(fields[1]) == day then today = tonumber(fields[2]) end
  if tonumber(fields[3]) == month then this_month = tonumber(fields[4]) end
  return {day = today, month = this_month, last = tonumber(fields[5] or -9)}
end
local stream, account = counted(KEYS[1]), counted(KEYS[2])
if not stream or not account then return answer(2, 0) end
local limited = ARGV[5] == 'stream' and stream or account
local used = limited[ARGV[4]]
-- the second that a clock was set back to by a moment
if stream.last == now or stream.last == now + 1 then return answer(1, used) end
if ARGV[3] ~= '' and used >= tonumber(ARGV[3]) then return answer(0, used) end
local function keep(key, of, ...)
  redis.call('HSET', key, 'day', day, 'today', of.day + 1, 'month', month, 'this_month', of.month + 1, ...)
  redis.call('EXPIRE', key, ARGV[7])
end
keep(KEYS[1], stream, 'last', now)
keep(KEYS[2], account)
redis.call('HSET', KEYS[3], ARGV[6] .. day, stream.day + 1)
return answer(1, used + 1)
"""
)
# KEYS: stream, account. ARGV: day, begin of its month, seconds of the stream on the day and in the month, those of the account, seconds to keep.
_BEGIN = Script.of(
    """
for place = 1, 2 do
  if redis.call('EXISTS', KEYS[place]) == 0 then
    redis.call('HSET', KEYS[place], 'day', ARGV[1], 'today', ARGV[2 * place + 1], 'month', ARGV[2], 'this_month', ARGV[2 * place + 2])
    redis.call('EXPIRE', KEYS[place], ARGV[7])
  end
end
"""
)
# KEYS: unsaved, lease. ARGV: milliseconds of the lease, most. Returns name, seconds, name, seconds…
_UNSAVED = Script.of(
    """
if tonumber(ARGV[1]) > 0 and not redis.call('SET', KEYS[2], '1', 'NX', 'PX', ARGV[1]) then return {} end
return redis.call('HRANDFIELD', KEYS[1], ARGV[2], 'WITHVALUES')
"""
)
# KEYS: unsaved. ARGV: name, seconds, name, seconds…
_SAVED = Script.of(
    """
for place = 1, #ARGV, 2 do
  if redis.call('HGET', KEYS[1], ARGV[place]) == ARGV[place + 1] then redis.call('HDEL', KEYS[1], ARGV[place]) end
end
"""
)


class RedisMeter:
    """`shared.ports.Meter` over Redis."""

    def __init__(self, commands: Commands, settings: Settings) -> None:
        self._commands = commands
        self._prefix = f"{settings.namespace}:used:"
        self._unsaved, self._lease = f"{settings.namespace}:unsaved", f"{settings.namespace}:saving"
        self._month = month_of(day_of(time.time()))

    async def count(self, who: Metered, allowance: Allowance) -> Count:
        limit = "" if allowance.seconds is None else allowance.seconds
        name = f"{who.account}/{who.stream}/"
        while True:
            begin, end = (day * DAY_SECONDS for day in self._month)
            arguments = (begin, end, limit, allowance.period, allowance.scope, name, _KEEP_SECONDS)
            what, used, seconds, micro = await self._commands.run(_COUNT, (*self._keys(who), self._unsaved), arguments)
            if what != _ANOTHER_MONTH:
                return Count(what == _GRANTED, used, seconds + micro / 1e6, known=what != _UNKNOWN)
            self._month = month_of(day_of(seconds))

    async def begin(self, who: Metered, known: Known) -> None:
        month = month_of(known.day)[0] * DAY_SECONDS
        seconds = (known.stream_day, known.stream_month, known.account_day, known.account_month)
        await self._commands.run(_BEGIN, self._keys(who), (known.day, month, *seconds, _KEEP_SECONDS))

    async def unsaved(self, lease: float) -> list[DayOfUse]:
        found = await self._commands.run(_UNSAVED, (self._unsaved, self._lease), (round(lease * 1000), _MOST))
        return [_day_of_use(name, seconds) for name, seconds in zip(found[::2], found[1::2], strict=True)]

    async def saved(self, days: Sequence[DayOfUse]) -> None:
        if days:
            pairs = [value for one in days for value in (f"{one.account}/{one.stream}/{one.day}", one.seconds)]
            await self._commands.run(_SAVED, (self._unsaved,), pairs)

    def _keys(self, who: Metered) -> tuple[str, str]:
        return f"{self._prefix}{who.account}/{who.stream}", f"{self._prefix}{who.account}"


def _day_of_use(name: bytes, seconds: bytes) -> DayOfUse:
    account, stream, day = name.decode().rsplit("/", 2)
    return DayOfUse(account, stream, int(day), int(seconds))
