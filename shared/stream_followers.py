"""Who in this process follows which stream of frames, whatever the store behind.

A store pushes each frame here with its number. Pushes may be lost or come twice: whenever something is missing, and when
no frame came for so long that the stream should be over, the stream is read.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

from shared.errors import StoreAway
from shared.ports import StreamView

#: Reads a stream from after a frame on. Raises `StoreAway`.
Read = Callable[[int], Awaitable[StreamView | None]]
#: Frames that may wait for a follower; it reads the stream again when it has fallen further behind.
_MOST_READY = 1024
#: What is kept of a stream outlives it by this many seconds and the time of a frame, so that its end can be told.
LINGER_SECONDS = 60.0
#: The clocks of a store and of this process differ by less than this, in seconds.
_SLACK = 0.05


class StreamFollower:
    """The frames of one stream as they come, for one caller: a context manager that is its own iterator."""

    __slots__ = ("_closed", "_followers", "_over", "_read", "_ready", "_remaining", "_seen", "_stale", "_waiter", "stream")

    def __init__(self, followers: StreamFollowers, stream: str, after: int, read: Read) -> None:
        self.stream = stream
        self._followers, self._read, self._seen = followers, read, after
        self._ready: deque[tuple[int, bytes]] = deque()
        self._stale = True  # nothing was read yet
        self._over = False
        self._closed = False
        self._remaining = 0.0
        self._waiter: asyncio.Future[None] | None = None

    async def __aenter__(self) -> Self:
        self._followers.add(self)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._followers.discard(self)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> tuple[int, bytes]:
        while not self._ready:
            if self._closed:
                raise StoreAway("the store was closed")
            if self._stale:
                await self._catch_up()
            elif self._over:
                raise StopAsyncIteration
            else:
                await self._wait()
        return self._ready.popleft()

    async def _catch_up(self) -> None:
        self._stale = False
        view = await self._read(self._seen)
        if view is None:
            self._over = True
            return
        for number, frame in view.frames:
            self._take(number, frame)
        self._over, self._remaining = view.over, view.remaining

    async def _wait(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(self._remaining + _SLACK):
                await self._waiter
        except TimeoutError:
            self._stale = True
        finally:
            self._waiter = None

    def push(self, number: int, frame: bytes) -> None:
        """Take a frame unless it is known; notice when others are missing before it."""
        if number == self._seen + 1 and len(self._ready) < _MOST_READY and not self._stale:
            self._take(number, frame)
        elif number > self._seen:
            self._stale = True
        self._wake()

    def recheck(self) -> None:
        """Something may have been missed, or the stream has ended."""
        self._stale = True
        self._wake()

    def close(self) -> None:
        """End the waiting, since nothing comes any more."""
        self._closed = True
        self._wake()

    def _take(self, number: int, frame: bytes) -> None:
        if number > self._seen:
            self._seen = number
            self._ready.append((number, frame))

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class StreamFollowers:
    """All followers of a process, by stream."""

    def __init__(self, on_first: Callable[[str], None] | None = None, on_last: Callable[[str], None] | None = None) -> None:
        """``on_first`` is told of a stream that gets its first follower, ``on_last`` of one that lost its last."""
        self._by_stream: dict[str, list[StreamFollower]] = {}
        self._on_first, self._on_last = on_first, on_last
        self._closed = False

    def add(self, follower: StreamFollower) -> None:
        if self._closed:
            follower.close()
        known = self._by_stream.setdefault(follower.stream, [])
        known.append(follower)
        if len(known) == 1 and self._on_first is not None:
            self._on_first(follower.stream)

    def discard(self, follower: StreamFollower) -> None:
        known = self._by_stream[follower.stream]
        known.remove(follower)
        if not known:
            del self._by_stream[follower.stream]
            if self._on_last is not None:
                self._on_last(follower.stream)

    def push(self, stream: str, number: int, frame: bytes) -> None:
        """Hand a frame to whoever follows the stream."""
        for follower in self._by_stream.get(stream, ()):
            follower.push(number, frame)

    def recheck(self, stream: str) -> None:
        """The stream has ended."""
        for follower in self._by_stream.get(stream, ()):
            follower.recheck()

    def recheck_all(self) -> None:
        """Pushes may have been lost."""
        for stream in self._by_stream:
            self.recheck(stream)

    def close(self) -> None:
        """End every follower."""
        self._closed = True
        for followers in self._by_stream.values():
            for follower in followers:
                follower.close()
