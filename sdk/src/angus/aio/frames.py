"""Frames over a WebSocket: a bounded number in flight, the newest wins when the network is slow.

The session outlives a connection.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Optional, Union

from angus.aio.exchange import Exchange
from angus.aio.flight import UNREAD, Answer, Frame, Frames

if TYPE_CHECKING:
    from angus.aio.resources import Service, Session

__all__ = ["UNREAD", "WINDOW", "Answer", "Frame", "FrameStream"]

#: Frames sent and not answered, by default; the server takes as many at a time unless it is told otherwise.
WINDOW = 4


class FrameStream:
    """A stream of frames to one service; make it with `Service.stream` and use it with ``async with``.

    `offer` never waits: a frame that cannot be sent yet gives way to the next, and is counted in ``dropped``. `send` waits, and drops
    nothing. Answers come in the order of the frames. A connection that breaks is made anew, with the session kept, also where the server
    has ended the stream meanwhile: whoever is in view stays the same for as long as the session lives.
    """

    def __init__(
        self,
        service: Service,
        parameters: Mapping[str, Any],
        session: Optional[Session],
        window: int,
    ) -> None:
        self._session = session
        state = {"session_id": str(uuid.uuid4())} if session is None else session.state()
        self._frames = Frames(window)
        self._exchange = Exchange(service, {**parameters, "state": state}, self._frames)
        self._tasks: list[asyncio.Task[None]] = []

    def offer(self, frame: Frame, parameters: Optional[Mapping[str, Any]] = None) -> int:
        """Give the newest frame; its number. One that still waits gives way to it. ``parameters`` are the frame's own.

        Raises what ended the stream, if anything did.
        """
        return self._frames.give(frame, parameters, must=False).number

    async def send(self, frame: Frame, parameters: Optional[Mapping[str, Any]] = None) -> int:
        """Give a frame that is not to be dropped; its number.

        Returns when the next may be given, so answers have to be read meanwhile.
        """
        given = self._frames.give(frame, parameters, must=True)
        await self._frames.sent(given)
        return given.number

    def finish(self) -> None:
        """There is no further frame: reading ends with the last answer."""
        self._frames.finish()

    def feed(self, frames: Union[Iterable[Frame], AsyncIterable[Frame]], *, newest: bool) -> None:
        """Take the frames from here, in a task of the stream's own, and `finish` after the last.

        ``newest``: `offer` them, else `send`. A frame may come with its own parameters: (parameters, frame).
        """
        self._tasks.append(asyncio.create_task(_guarded(_feed(self, frames, newest), self._frames)))

    async def __aenter__(self) -> FrameStream:
        await self._exchange.open()
        self._tasks.append(asyncio.create_task(_guarded(self._exchange.run(), self._frames)))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is None:  # the session is the stream's own, and ends with it
            await self._exchange.end()

    def __aiter__(self) -> AsyncIterator[Answer]:
        return self

    async def __anext__(self) -> Answer:
        answer = await self._frames.answer()
        if answer is None:
            raise StopAsyncIteration
        return answer

    @property
    def given(self) -> int:
        """How many frames were given, which is the number that the next one gets."""
        return self._frames.given

    @property
    def dropped(self) -> int:
        """How many frames gave way to newer ones or were lost with a connection."""
        return self._frames.dropped

    @property
    def reconnected(self) -> int:
        """How many connections were made anew."""
        return self._exchange.reconnected


async def _guarded(work: Awaitable[None], frames: Frames) -> None:
    """What ends the stream early is raised where answers are read and frames are given."""
    try:
        await work
    except Exception as error:  # noqa: BLE001
        frames.fail(error)


async def _feed(stream: FrameStream, frames: Any, newest: bool) -> None:
    async for frame in _each(frames):
        parameters, data = frame if isinstance(frame, tuple) else ({}, frame)
        if newest:
            stream.offer(data, parameters)
        else:
            await stream.send(data, parameters)
    stream.finish()


async def _each(frames: Any) -> AsyncIterator[Frame]:
    """Frames of either kind of source; one that waits for a camera does so in a thread."""
    if hasattr(frames, "__aiter__"):
        async for frame in frames:
            yield frame
        return
    iterator, end = iter(frames), object()
    while (frame := await asyncio.to_thread(next, iterator, end)) is not end:
        yield frame
