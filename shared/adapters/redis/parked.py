"""Frames of sessions that wait for their predecessors, and are woken over the channel of their session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from shared.adapters.redis.pubsub import PubSub
from shared.aio import BackgroundTasks, backoff
from shared.errors import StoreAway

#: A frame's number, and what it waits for.
_Parked = tuple[int, asyncio.Future[None]]


class ParkedFrames:
    """The frames of this process that wait, by session."""

    def __init__(
        self,
        pubsub: PubSub,
        channel_of: Callable[[str], str],
        read: Callable[[str], Awaitable[bytes | None]],
    ) -> None:
        """``channel_of``: the name of a session's channel; ``read``: the number of its finished frame."""
        self._pubsub, self._channel_of, self._read_finished = pubsub, channel_of, read
        self._by_session: dict[str, list[_Parked]] = {}
        self._reading = BackgroundTasks()
        pubsub.on_resume(self._resume)

    def __len__(self) -> int:
        """The sessions in which a frame waits."""
        return len(self._by_session)

    async def wait(self, session: str, number: int) -> None:
        """Return once the frame of this number, or a later one, is finished. Raises `StoreAway`."""
        channel = self._pubsub.acquire(self._channel_of(session), partial(self._advance, session))
        parked = (number, asyncio.get_running_loop().create_future())
        self._by_session.setdefault(session, []).append(parked)
        try:
            await self._pubsub.confirmed(channel)
            await self._read(session)
            await parked[1]
        finally:
            self._pubsub.release(channel)
            self._leave(session, parked)

    async def close(self) -> None:
        """Give up what `_resume` began; whoever is parked is bounded by its caller."""
        await self._reading.cancel()

    async def _read(self, session: str) -> None:
        self._advance(session, await self._read_finished(session) or b"0")

    def _advance(self, session: str, finished: bytes) -> None:
        reached = int(finished)
        for number, future in self._by_session.get(session, ()):
            if number <= reached and not future.done():
                future.set_result(None)

    def _leave(self, session: str, parked: _Parked) -> None:
        waiting = self._by_session[session]
        waiting.remove(parked)
        if not waiting:
            del self._by_session[session]

    def _resume(self) -> None:
        """Messages may have been lost: ask for each session in which a frame is parked."""
        for session in self._by_session:
            self._reading.start(self._read_again(session))

    async def _read_again(self, session: str) -> None:
        failures = 0
        while session in self._by_session:
            try:
                return await self._read(session)
            except StoreAway:
                await asyncio.sleep(backoff(failures))
                failures += 1
