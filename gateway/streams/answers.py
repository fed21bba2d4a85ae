"""The answers of a stream in the order of its frames, gathered ahead of whoever reads them, up to a bound."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import orjson
from aiohttp import web

from gateway.jobs.documents import job_document
from gateway.state import GATE, Gate
from gateway.streams.access import FINISHED, NOTHING_AFTER, FrameStream, end_of
from gateway.streams.hub import first_of, give_up
from gateway.streams.intake import TOLD_SECONDS
from shared import metrics
from shared.errors import PerceptionError, ResultLost, SlowReader, StreamEnded
from shared.events import Event, Failed
from shared.job_ids import JobRef
from shared.log import get_logger

log = get_logger(__name__)

#: A reader that is told why its connection ends has this long to take it, and what was written before.
LAST_WORD_SECONDS = 5.0
Events = AsyncIterator[tuple[int, Event]]


@dataclass(frozen=True, slots=True)
class _Expected:
    """A frame whose answer comes. ``missed``: frames before it of which nothing is kept any more."""

    number: int
    ref: JobRef
    dropped: int
    missed: int
    following: AbstractAsyncContextManager[Events]
    events: Events


class Answers:
    """A context manager that gathers while it is open; `take` gives what has come.

    One task hears of frames and begins to follow each at once, so that nothing pushed is missed; another waits for their
    ends, in order. Neither waits for the reader: one that is too far behind finds `failed` done.
    """

    def __init__(self, gate: Gate, stream: FrameStream, after: int) -> None:
        """``after``: the number of the last frame whose answer is not wanted."""
        self._gate, self._stream = gate, stream
        self._most, self._most_bytes = gate.settings.stream_unread, gate.settings.stream_unread_bytes
        self._heard = self._told = after
        self._last: int | None = None
        self._expected: deque[_Expected] = deque()
        self._ready: list[bytes] = []
        self._ready_bytes = 0
        self._over = self._stopped = False
        self._tasks: list[asyncio.Task[None]] = []
        self._more, self._readable = asyncio.Event(), asyncio.Event()
        #: Done when no answer comes any more, for another reason than that the stream is over; its result says why.
        self.failed: asyncio.Future[PerceptionError] = asyncio.get_running_loop().create_future()

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._guarded(self._hear())), loop.create_task(self._guarded(self._gather()))]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await give_up(*self._tasks)
        for expected in self._expected:
            await expected.following.__aexit__(None, None, None)

    async def take(self) -> list[bytes]:
        """The answers that have come, as JSON, waited for if there are none; empty once the stream is over and all are told."""
        while not self._ready and not self._is_done():
            self._readable.clear()
            await self._readable.wait()
        if self._stopped:
            return []
        taken, self._ready, self._ready_bytes = self._ready, [], 0
        return taken

    def stop(self) -> None:
        """Tell no more, whatever has come."""
        self._stopped = True
        self._readable.set()

    def end_after(self, number: int) -> None:
        """Tell the answers up to this frame, and no more."""
        self._last = number
        self._readable.set()

    def _is_done(self) -> bool:
        if self._stopped or (self._last is not None and self._told >= self._last):
            return True
        return self._over and not self._expected

    async def _guarded(self, work: Awaitable[None]) -> None:
        try:
            await work
        except PerceptionError as error:
            self._fail(error)

    def _fail(self, error: PerceptionError) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    async def _hear(self) -> None:
        """Begin to follow each frame as soon as it is heard of."""
        stores, owner = self._gate.stores, self._stream.job_owner
        async with stores.streams.follow(self._stream.id, self._heard) as frames:
            async for number, entry in frames:
                job_id, _, dropped = entry.decode().partition(" ")
                ref = self._gate.ids.read(job_id, owner)
                if ref is None:
                    log.error("stream.frame_unreadable", service=self._stream.service.name)
                    continue
                following = stores.results.follow(job_id)
                missed = number - self._heard - 1
                self._expected.append(_Expected(number, ref, int(dropped), missed, following, await following.__aenter__()))
                self._heard = number
                self._more.set()
        self._over = True
        self._readable.set()
        self._more.set()

    async def _gather(self) -> None:
        """Wait for the end of each frame in turn."""
        while True:
            while not self._expected:
                if self._over:
                    return
                self._more.clear()
                await self._more.wait()
            expected = self._expected[0]
            final = await self._final(expected)
            self._expected.popleft()
            await expected.following.__aexit__(None, None, None)
            self._put(expected, final)

    async def _final(self, expected: _Expected) -> Event:
        told_by = expected.ref.created + self._gate.settings.stream_frame_seconds + TOLD_SECONDS
        try:
            async with asyncio.timeout(max(TOLD_SECONDS, told_by - time.time())):
                async for _, event in expected.events:
                    if event.final:
                        return event
        except TimeoutError:
            pass
        return Failed.of(ResultLost("the frame's time passed and no result of it is stored"), time.time())

    def _put(self, expected: _Expected, final: Event) -> None:
        if len(self._ready) >= self._most or self._ready_bytes > self._most_bytes:
            self._fail(SlowReader(f"{len(self._ready)} answers ({self._ready_bytes} bytes) waited to be read, which is the most"))
            return
        document = job_document(f"{self._stream.service_url}/jobs/{expected.ref.id}", expected.ref, final)
        place = {"frame": expected.number, "dropped": expected.dropped}
        document["stream"] = {**place, "missed": expected.missed} if expected.missed else place
        answer = orjson.dumps(document)
        self._ready.append(answer)
        self._ready_bytes += len(answer)
        self._told = expected.number
        self._readable.set()


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
