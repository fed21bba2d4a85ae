"""Streams of frames in this process's memory."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from functools import partial

from shared.aio import TtlCache
from shared.errors import StreamEnded, StreamTaken
from shared.ports import StreamView
from shared.settings import Settings
from shared.stream_followers import LINGER_SECONDS, StreamFollower, StreamFollowers


@dataclass(slots=True)
class _Stream:
    """A stream. ``due``: when it ends for want of a frame (monotonic). ``sender``: the last name that added."""

    about: bytes
    due: float
    frames: deque[bytes]
    count: int = 0
    sender: str = ""
    ended: str = ""


class MemoryStreams:
    """`shared.ports.StreamStore` in memory."""

    def __init__(self, settings: Settings) -> None:
        self._seconds, self._kept = settings.session_seconds, settings.stream_unread
        kept_seconds = settings.session_seconds + settings.stream_frame_seconds + LINGER_SECONDS
        self._streams: TtlCache[str, _Stream] = TtlCache(kept_seconds)
        self._followers = StreamFollowers()

    async def begin(self, stream: str, about: bytes) -> None:
        self._streams.put(stream, _Stream(about, time.monotonic() + self._seconds, deque(maxlen=self._kept)))

    async def add(self, stream: str, sender: str, frame: bytes) -> int:
        found, now = self._streams.get(stream), time.monotonic()
        if found is None or found.ended or found.due <= now:
            raise StreamEnded
        if found.sender > sender:
            raise StreamTaken
        found.sender, found.due = sender, now + self._seconds
        found.count += 1
        found.frames.append(bytes(frame))
        self._streams.put(stream, found)
        self._followers.push(stream, found.count, frame)
        return found.count

    async def read(self, stream: str, after: int) -> StreamView | None:
        found = self._streams.get(stream)
        if found is None:
            return None
        first = found.count - len(found.frames) + 1
        frames = [(number, frame) for number, frame in enumerate(found.frames, first) if number > after]
        return StreamView(found.about, found.count, frames, found.ended, found.due - time.monotonic())

    def follow(self, stream: str, after: int) -> StreamFollower:
        return StreamFollower(self._followers, stream, after, partial(self.read, stream))

    async def end(self, stream: str, reason: str) -> bool:
        found = self._streams.get(stream)
        if found is None or found.ended or found.due <= time.monotonic():
            return False
        found.ended = reason
        self._streams.put(stream, found)
        self._followers.recheck(stream)
        return True

    def close(self) -> None:
        """End whoever follows."""
        self._followers.close()
