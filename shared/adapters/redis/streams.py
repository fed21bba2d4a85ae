"""Streams of frames in Redis.

A stream is a hash (about, count, sender, ended, due) and a list of what its last frames became. Frames are pushed over a
channel of the stream, which is subscribed while somebody follows it. Times are the server's.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from shared.adapters.redis.connection import Commands, Script
from shared.adapters.redis.pubsub import PubSub
from shared.adapters.redis.subscriptions import Channel
from shared.errors import StreamEnded, StreamTaken
from shared.ports import StreamView
from shared.settings import Settings
from shared.stream_followers import LINGER_SECONDS, StreamFollower, StreamFollowers

_NOW = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
"""
# KEYS: stream. ARGV: about, session time, time to keep (milliseconds).
_BEGIN = Script.of(
    _NOW,
    """
redis.call('HSET', KEYS[1], 'about', ARGV[1], 'count', 0, 'due', now + ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
""",
)
# KEYS: stream (also its channel), frames. ARGV: sender, frame, session time, time to keep (milliseconds), most kept.
# Returns the number; 0: the stream is over, -1: it has another sender.
_ADD = Script.of(
    _NOW,
    """
local fields = redis.call('HMGET', KEYS[1], 'due', 'ended', 'sender')
if not fields[1] or fields[2] or tonumber(fields[1]) <= now then return 0 end
if fields[3] and fields[3] > ARGV[1] then return -1 end
local number = redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('HSET', KEYS[1], 'due', now + ARGV[3], 'sender', ARGV[1])
redis.call('RPUSH', KEYS[2], ARGV[2])
redis.call('LTRIM', KEYS[2], -ARGV[5], -1)
redis.call('PEXPIRE', KEYS[1], ARGV[4])
redis.call('PEXPIRE', KEYS[2], ARGV[4])
redis.call('PUBLISH', KEYS[1], number .. ' ' .. ARGV[2])
return number
""",
)
# KEYS: stream, frames. ARGV: after. Returns about, count, ended, remaining time, the first frame's number, frames; or nothing.
_READ = Script.of(
    _NOW,
    """
local fields = redis.call('HMGET', KEYS[1], 'about', 'count', 'ended', 'due')
if not fields[4] then return {} end
local count = tonumber(fields[2])
local trimmed = count - redis.call('LLEN', KEYS[2])
local start = math.max(0, ARGV[1] - trimmed)
local frames = redis.call('LRANGE', KEYS[2], start, -1)
return {fields[1], count, fields[3] or '', tonumber(fields[4]) - now, trimmed + start + 1, frames}
""",
)
# KEYS: stream (also its channel). ARGV: reason, time to keep (milliseconds). Whether it went on until now.
_END = Script.of(
    _NOW,
    """
local fields = redis.call('HMGET', KEYS[1], 'due', 'ended')
if not fields[1] or fields[2] or tonumber(fields[1]) <= now then return 0 end
redis.call('HSET', KEYS[1], 'ended', ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
redis.call('PUBLISH', KEYS[1], '')
return 1
""",
)


class RedisStreams:
    """`shared.ports.StreamStore` over Redis."""

    def __init__(self, commands: Commands, pubsub: PubSub, settings: Settings) -> None:
        self._commands, self._pubsub = commands, pubsub
        self._stream, self._frames = f"{settings.namespace}:stream:", f"{settings.namespace}:frames:"
        self._session_ms = max(1, round(settings.session_seconds * 1000))
        self._kept_ms = self._session_ms + round((settings.stream_frame_seconds + LINGER_SECONDS) * 1000)
        self._kept = settings.stream_unread
        self._channels: dict[str, Channel] = {}
        self._followers = StreamFollowers(self._listen, self._leave)
        pubsub.on_resume(self._followers.recheck_all)

    async def begin(self, stream: str, about: bytes) -> None:
        await self._commands.run(_BEGIN, (self._stream + stream,), (about, self._session_ms, self._kept_ms))

    async def add(self, stream: str, sender: str, frame: bytes) -> int:
        keys = (self._stream + stream, self._frames + stream)
        number = int(await self._commands.run(_ADD, keys, (sender, frame, self._session_ms, self._kept_ms, self._kept)))
        if number > 0:
            return number
        raise StreamEnded if number == 0 else StreamTaken

    async def read(self, stream: str, after: int) -> StreamView | None:
        reply = await self._commands.run(_READ, (self._stream + stream, self._frames + stream), (after,))
        if not reply:
            return None
        about, count, ended, remaining, first, frames = reply
        return StreamView(about, count, list(enumerate(frames, first)), ended.decode(), remaining / 1000)

    def follow(self, stream: str, after: int) -> StreamFollower:
        return StreamFollower(self._followers, stream, after, partial(self._hear_and_read, stream))

    async def end(self, stream: str, reason: str) -> bool:
        return bool(await self._commands.run(_END, (self._stream + stream,), (reason, self._kept_ms)))

    def close(self) -> None:
        """End whoever follows."""
        self._followers.close()

    async def _hear_and_read(self, stream: str, after: int) -> StreamView | None:
        """Hear the pushes first, then read what was before: nothing can fall in between."""
        await self._pubsub.confirmed(self._channels[stream])
        return await self.read(stream, after)

    def _listen(self, stream: str) -> None:
        receive: Callable[[bytes], None] = partial(self._receive, stream)
        self._channels[stream] = self._pubsub.acquire(self._stream + stream, receive)

    def _leave(self, stream: str) -> None:
        self._pubsub.release(self._channels.pop(stream))

    def _receive(self, stream: str, message: bytes) -> None:
        number, _, frame = message.partition(b" ")
        if frame:
            self._followers.push(stream, int(number), frame)
        else:
            self._followers.recheck(stream)
