"""The places of one connection's frames in their stream: in the order in which they were taken."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.state import Gate
from gateway.streams.access import NOTHING_AFTER, FrameStream, end_of
from shared import metrics
from shared.errors import StreamEnded


def new_sender() -> str:
    """The name of a connection that sends, by the time first: of two the newer one is the stream's sender."""
    milliseconds, rest = divmod(time.time_ns(), 1_000_000)
    return f"{milliseconds:012x}{rest:05x}{os.urandom(6).hex()}"


class Places:
    """Gives each frame its place, and counts them."""

    def __init__(self, gate: Gate, stream: FrameStream) -> None:
        self._gate, self._stream = gate, stream
        self._sender = new_sender()
        #: Done once the frame before is in its place.
        self._last = _done_future()
        #: Frames that gave way since the last one got a place, which tells of them.
        self._gave_way = 0
        #: Frames that became jobs, or failures, and those that gave way to newer ones.
        self.accepted, self.dropped = 0, 0

    def drop(self) -> None:
        """A frame gives way to a newer one: it gets no place."""
        self._gave_way += 1
        self.dropped += 1
        metrics.STREAM_DROPPED.labels(self._stream.service.name).inc()

    def next(self) -> Place:
        """The place of the frame that is taken now."""
        place = Place(self, self._last, self._gave_way)
        self._last, self._gave_way = place.left, 0
        return place

    async def settle(self) -> None:
        """Return once every frame is in its place, or has left it."""
        await asyncio.wait([self._last])

    async def add(self, job_id: str, dropped: int) -> int:
        """Write a frame into the stream; its number. Raises what ended the stream."""
        streams, stream_id = self._gate.stores.streams, self._stream.id
        try:
            number = await streams.add(stream_id, self._sender, f"{job_id} {dropped}".encode())
        except StreamEnded:
            raise end_of(await streams.read(stream_id, NOTHING_AFTER), self._gate) from None
        self.accepted += 1
        return number


class Place:
    """A frame's place among those of its connection."""

    def __init__(self, places: Places, previous: asyncio.Future[None], dropped: int) -> None:
        self._places, self._previous, self._dropped = places, previous, dropped
        #: Done once the frame after may have its place.
        self.left: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        #: Set once it was tried to take the place.
        self.job_id: str | None = None
        #: Set once the place is taken.
        self.number = 0

    @asynccontextmanager
    async def enter(self, job_id: str) -> AsyncIterator[None]:
        """Wait until the frame before is in its place, and take this one's while the block numbers it."""
        if not self._previous.done():
            await asyncio.wait([self._previous])
        self.job_id = job_id
        adding = asyncio.ensure_future(self._places.add(job_id, self._dropped))
        try:
            yield
        finally:
            self.number = await adding
            self.leave()

    def leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)


def _done_future() -> asyncio.Future[None]:
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    future.set_result(None)
    return future
