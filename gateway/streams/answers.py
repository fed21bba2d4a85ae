"""The answers of a stream in the order of its frames, gathered ahead of whoever reads them, up to a bound."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from gateway.jobs.documents import job_document
from gateway.state import GATE, Gate
from gateway.streams.access import FINISHED, NOTHING_AFTER, FrameStream, end_of
from gateway.streams.hearing import Expected, Hearing
from gateway.streams.hub import first_of, give_up
from gateway.streams.intake import TOLD_SECONDS
from gateway.streams.unread import Unread
from shared import metrics
from shared.errors import PerceptionError, ResultLost, StreamEnded
from shared.events import Event, Failed

#: A reader that is told why its connection ends has this long to take it, and what was written before.
LAST_WORD_SECONDS = 5.0


class Answers:
    """A context manager that gathers while it is open; `take` gives what has come.

    One task hears of frames, another waits for their ends, in order. Neither waits for the reader: one that
    is too far behind finds `failed` done.
    """

    def __init__(self, gate: Gate, stream: FrameStream, after: int) -> None:
        """``after``: the number of the last frame whose answer is not wanted."""
        self._gate, self._stream = gate, stream
        self._hearing = Hearing(gate, stream, after)
        self._unread = Unread(gate.settings, after, self._hearing.is_over)
        self._tasks: list[asyncio.Task[None]] = []
        #: Done when no answer comes any more, for another reason than that the stream is over; its result says why.
        self.failed: asyncio.Future[PerceptionError] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._guarded(work)) for work in (self._hear(), self._gather())]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await give_up(*self._tasks)
        await self._hearing.leave_all()

    async def take(self) -> list[bytes]:
        """The answers that have come, as JSON, waited for if there are none.

        Empty once the stream is over and all are told.
        """
        return await self._unread.take()

    def stop(self) -> None:
        """Tell no more, whatever has come."""
        self._unread.stop()

    def end_after(self, number: int) -> None:
        """Tell the answers up to this frame, and no more."""
        self._unread.end_after(number)

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except PerceptionError as error:
            self._fail(error)

    def _fail(self, error: PerceptionError) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    async def _hear(self) -> None:
        await self._hearing.hear()
        self._unread.look_again()

    async def _gather(self) -> None:
        """Wait for the end of each frame in turn."""
        while (expected := await self._hearing.first()) is not None:
            final = await self._final(expected)
            await self._hearing.leave_first()
            self._put(expected, final)

    async def _final(self, expected: Expected) -> Event:
        told_by = expected.ref.created + self._gate.settings.stream_frame_seconds + TOLD_SECONDS
        try:
            async with asyncio.timeout(max(TOLD_SECONDS, told_by - time.time())):
                async for _, event in expected.events:
                    if event.final:
                        return event
        except TimeoutError:
            pass
        return Failed.of(ResultLost("the frame's time passed and no result of it is stored"), time.time())

    def _put(self, expected: Expected, final: Event) -> None:
        overflow = self._unread.overflow()
        if overflow is not None:
            self._fail(overflow)
            return
        document = job_document(f"{self._stream.service_url}/jobs/{expected.ref.id}", expected.ref, final)
        place = {"frame": expected.number, "dropped": expected.dropped}
        document["stream"] = {**place, "missed": expected.missed} if expected.missed else place
        self._unread.add(expected.number, orjson.dumps(document))


async def told(
    request: web.Request, stream: FrameStream, answers: Answers, writer: asyncio.Task[None], *others: asyncio.Future[Any]
) -> PerceptionError | None:
    """Wait until a connection is over, because all was told or for another reason; why, or None when nothing is wrong.

    ``others`` end it too. A process that goes down tells first what was under way then. Raises `ConnectionError` once the
    reader is gone, or does not take what was written.
    """
    gate = request.app[GATE]
    stopping = gate.streams.stopping
    error = await first_of(writer, *others, answers.failed, stopping)
    if error is not None and stopping.done() and error is stopping.result():
        await gate.streams.quiet()
        view = await gate.stores.streams.read(stream.id, NOTHING_AFTER)
        answers.end_after(0 if view is None else view.count)
        await _last_told(gate, answers, writer)
    elif isinstance(error, StreamEnded):  # a frame came after the end; the answers to those before may still be under way
        await _last_told(gate, answers, writer)
    elif error is None and writer.done():
        view = await gate.stores.streams.read(stream.id, NOTHING_AFTER)
        error = None if view is not None and view.ended == FINISHED else end_of(view, gate)
    if error is not None:
        metrics.STREAM_CLOSED.labels(error.code).inc()
    await _end_writing(request, answers, writer)
    return error


async def _last_told(gate: Gate, answers: Answers, writer: asyncio.Task[None]) -> None:
    """Wait until the writer has told the last answer there will be, or it has taken too long."""
    ends: tuple[asyncio.Future[Any], ...] = (writer, answers.failed)
    await asyncio.wait(ends, timeout=gate.settings.drain_seconds, return_when=asyncio.FIRST_COMPLETED)


async def _end_writing(request: web.Request, answers: Answers, writer: asyncio.Task[None]) -> None:
    """Let the writer finish what it writes. It is not cancelled: what waits for a connection to take more must not be, in aiohttp."""
    answers.stop()
    await asyncio.wait([writer], timeout=LAST_WORD_SECONDS)
    if not writer.done() and request.transport is not None:
        request.transport.abort()
    await writer
