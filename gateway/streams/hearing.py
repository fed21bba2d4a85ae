"""The frames of a stream as this gateway hears of them: each is followed at once, to miss nothing."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from gateway.state import Gate
from gateway.streams.access import FrameStream
from shared.events import Event
from shared.job_ids import JobRef
from shared.log import get_logger

log = get_logger(__name__)
Events = AsyncIterator[tuple[int, Event]]


@dataclass(frozen=True, slots=True)
class Expected:
    """A frame whose answer comes. ``missed``: frames before it of which nothing is kept any more."""

    number: int
    ref: JobRef
    dropped: int
    missed: int
    following: AbstractAsyncContextManager[Events]
    events: Events


class Hearing:
    """The frames that were heard of and whose answers come, in order."""

    def __init__(self, gate: Gate, stream: FrameStream, after: int) -> None:
        """``after``: the number of the last frame whose answer is not wanted."""
        self._gate, self._stream = gate, stream
        #: The number of the last frame heard of.
        self._heard = after
        self._expected: deque[Expected] = deque()
        self._over = False
        self._more = asyncio.Event()

    async def hear(self) -> None:
        """Begin to follow each frame as soon as it is heard of; returns after the last."""
        stores, owner = self._gate.stores, self._stream.job_owner
        async with stores.streams.follow(self._stream.id, self._heard) as frames:
            async for number, entry in frames:
                job_id, _, dropped = entry.decode().partition(" ")
                ref = self._gate.ids.read(job_id, owner)
                if ref is None:
                    log.error("stream.frame_unreadable", service=self._stream.service.name)
                    continue
                following = stores.results.follow(job_id)
                missed, events = number - self._heard - 1, await following.__aenter__()
                self._expected.append(Expected(number, ref, int(dropped), missed, following, events))
                self._heard = number
                self._more.set()
        self._over = True
        self._more.set()

    def is_over(self) -> bool:
        """Whether no frame is expected any more."""
        return self._over and not self._expected

    async def first(self) -> Expected | None:
        """The first of the frames, waited for; None after the last."""
        while not self._expected:
            if self._over:
                return None
            self._more.clear()
            await self._more.wait()
        return self._expected[0]

    async def leave_first(self) -> None:
        """The first frame is expected no longer."""
        await self._expected.popleft().following.__aexit__(None, None, None)

    async def leave_all(self) -> None:
        for expected in self._expected:
            await expected.following.__aexit__(None, None, None)
