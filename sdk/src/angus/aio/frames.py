"""Frames over a WebSocket: a bounded number under way, the newest wins when the network is slow, the session outlives a connection."""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional, TypeVar, Union

from angus import results
from angus._core.changes import Changes
from angus._core.documents import child
from angus._core.requests import body_of, file_bytes
from angus.aio.socket import Closed, Socket, connect
from angus.errors import AngusError, ApiError

if TYPE_CHECKING:
    from angus.aio.resources import Service, Session

T = TypeVar("T")
log = logging.getLogger("angus")
#: Frames sent and not answered, by default; the server takes as many at a time unless it is told otherwise.
WINDOW = 4
#: Answers that wait for their reader before no further frame is sent.
UNREAD = 64
#: Seconds between two looks at how many frames a broken connection delivered; equal twice means that no further one arrives.
_SETTLING_SECONDS = 0.2
_GONE = (404, 410)

#: A frame: open binary file, bytes, path or picture as an array; or (its own parameters, frame).
Frame = Any


@dataclass(frozen=True)
class Answer:
    """What came back for a frame.

    ``number``: the frame's, counted from 0 as they were given. ``result``: the document, as that of a job; a frame that could not be done
    has ``error`` in it. ``seconds``: from when the frame was given to when its answer was here. ``dropped``: frames that had given way so far.
    """

    number: int
    result: dict[str, Any]
    seconds: float
    dropped: int

    def parse(self, kind: type[T]) -> T:
        """The answer as one of the dataclasses of `angus.results`. Raises `ValueError` when there is no such answer."""
        return results.parse(kind, self.result)


@dataclass(eq=False)
class _Given:
    """A frame on its way. ``must``: it is not to be dropped. ``place``: its number in the server's count, once sent."""

    number: int
    frame: Frame
    parameters: Mapping[str, Any]
    begun: float
    must: bool
    data: Optional[bytes] = None
    place: int = 0


class FrameStream:
    """A stream of frames to one service; make it with `Service.stream` and use it with ``async with``.

    `offer` never waits: a frame that cannot be sent yet gives way to the next, and is counted in ``dropped``. `send` waits, and drops
    nothing. Answers come in the order of the frames. A connection that breaks is made anew, with the session kept, also where the server
    has ended the stream meanwhile: whoever is in view stays the same for as long as the session lives.
    """

    def __init__(self, service: Service, parameters: Mapping[str, Any], session: Optional[Session], window: int) -> None:
        self._service, self._connection = service, service._connection
        self._parameters, self._session, self._window = dict(parameters), session, window
        self._state = {"session_id": str(uuid.uuid4())} if session is None else session.state()
        self._document: dict[str, Any] = {}
        self._must: deque[_Given] = deque()
        self._newest: Optional[_Given] = None
        self._under_way: deque[_Given] = deque()
        self._answers: deque[Answer] = deque()
        self._given = self._place = self._answered = 0
        self._finished = False
        self._error: Optional[Exception] = None
        self._changes = Changes()
        self._tasks: list[asyncio.Task[None]] = []
        #: Frames that gave way to newer ones or were lost with a connection; connections made anew.
        self.dropped = self.reconnected = 0

    def offer(self, frame: Frame, parameters: Optional[Mapping[str, Any]] = None) -> int:
        """Give the newest frame; its number. One that still waits gives way to it. ``parameters`` are the frame's own.

        Raises what ended the stream, if anything did.
        """
        given = self._made(frame, parameters, must=False)
        self.dropped += self._newest is not None
        self._newest = given
        self._changes.tell()
        return given.number

    async def send(self, frame: Frame, parameters: Optional[Mapping[str, Any]] = None) -> int:
        """Give a frame that is not to be dropped; its number. Returns when the next may be given, so answers have to be read meanwhile."""
        given = self._made(frame, parameters, must=True)
        self._must.append(given)
        self._changes.tell()
        await self._changes.until(lambda: given not in self._must or self._error is not None)
        return given.number

    def finish(self) -> None:
        """There is no further frame: reading ends with the last answer."""
        self._finished = True
        self._changes.tell()

    def feed(self, frames: Union[Iterable[Frame], AsyncIterable[Frame]], *, newest: bool) -> None:
        """Take the frames from here, in a task of the stream's own, and `finish` after the last. ``newest``: `offer` them, else `send`.

        A frame may come with parameters of its own, as (parameters, frame).
        """
        self._tasks.append(asyncio.create_task(self._guarded(self._feed(frames, newest))))

    async def __aenter__(self) -> FrameStream:
        await self._open()
        self._tasks.append(asyncio.create_task(self._guarded(self._run())))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.finish()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is None:  # the session is the stream's own, and ends with it
            try:
                await self._connection.ask("DELETE", self._document["url"])
            except AngusError as error:
                log.info("the stream ends by itself, since it could not be ended: %s", error)

    def __aiter__(self) -> AsyncIterator[Answer]:
        return self

    async def __anext__(self) -> Answer:
        await self._changes.until(lambda: self._answers or self._error is not None or self._is_over())
        if self._answers:
            answer = self._answers.popleft()
            self._changes.tell()
            return answer
        if self._error is not None:
            raise self._error
        raise StopAsyncIteration

    def _made(self, frame: Frame, parameters: Optional[Mapping[str, Any]], *, must: bool) -> _Given:
        if self._error is not None:
            raise self._error
        if self._finished:
            raise ValueError("the stream is finished: there can be no further frame")
        self._given += 1
        return _Given(self._given - 1, frame, parameters or {}, asyncio.get_running_loop().time(), must)

    @property
    def given(self) -> int:
        """How many frames were given, which is the number that the next one gets."""
        return self._given

    def _is_over(self) -> bool:
        return self._finished and not (self._must or self._newest or self._under_way)

    async def _guarded(self, work: Awaitable[None]) -> None:
        """What ends the stream early is raised where answers are read and frames are given."""
        try:
            await work
        except Exception as error:  # noqa: BLE001
            self._error = self._error or error
            self._changes.tell()

    async def _feed(self, frames: Any, newest: bool) -> None:
        async for frame in _each(frames):
            parameters, data = frame if isinstance(frame, tuple) else ({}, frame)
            if newest:
                self.offer(data, parameters)
            else:
                await self.send(data, parameters)
        self.finish()

    async def _open(self) -> None:
        """Make the stream, or the next one of the same session."""
        body = await asyncio.to_thread(body_of, {**self._parameters, "state": self._state})
        self._document = await self._connection.ask("POST", child(self._service.endpoint, "streams"), body)
        self._place = self._answered = 0

    async def _run(self) -> None:
        """Connections, one after the other, until the last answer."""
        failures = 0
        while True:
            before = self._answered
            try:
                async with connect(self._connection, f"{self._document['websocket']}?after={before}") as socket:
                    return await self._converse(socket)
            except Closed as closed:
                failures = 1 if self._answered > before else failures + 1
                pause = self._connection.retries.pause(failures, None) if closed.may_come_back else None
                if pause is None:
                    raise closed.error from None
            await asyncio.sleep(pause)
            await self._resume()
            self.reconnected += 1

    async def _converse(self, socket: Socket) -> None:
        """Send and read until all is answered. Raises `Closed`."""
        tasks = [asyncio.create_task(self._write(socket)), asyncio.create_task(self._read(socket))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _write(self, socket: Socket) -> None:
        parameters: Mapping[str, Any] = {}
        while True:
            await self._changes.until(lambda: self._is_over() or self._has_room())
            given = self._next()
            if given is None:
                return
            if given.data is None:
                given.data = await asyncio.to_thread(file_bytes, given.frame)
            if given.parameters != parameters:
                parameters = given.parameters
                await socket.send(body_of(parameters).text)
            await socket.send(given.data)

    def _has_room(self) -> bool:
        waits = bool(self._must) or self._newest is not None
        return waits and len(self._under_way) < self._window and len(self._answers) < UNREAD

    def _next(self) -> Optional[_Given]:
        """The frame to be sent now, under way from here on; None after the last answer."""
        if self._must:
            given = self._must.popleft()
        elif self._newest is not None:
            given, self._newest = self._newest, None
        else:
            return None
        self._place += 1
        given.place = self._place
        self._under_way.append(given)
        self._changes.tell()
        return given

    async def _read(self, socket: Socket) -> None:
        while True:
            self._take(json.loads(await socket.receive()))
            self._changes.tell()

    def _take(self, document: dict[str, Any]) -> None:
        place = document.get("stream", {}).get("frame", 0)
        self._answered = max(self._answered, place)
        while self._under_way and self._under_way[0].place < place:
            self._under_way.popleft()
            self.dropped += 1
        if self._under_way and self._under_way[0].place == place:
            given = self._under_way.popleft()
            seconds = asyncio.get_running_loop().time() - given.begun
            self._answers.append(Answer(given.number, document, seconds, self.dropped))

    async def _resume(self) -> None:
        """After a connection broke: what the server has of the frames under way will be answered.

        Of the others, those that are not to be dropped are sent again, and the newest, if no newer one waits.
        """
        try:
            arrived = await self._arrived()
        except ApiError as error:
            if error.status not in _GONE:
                raise
            await self._open()
            arrived = 0
        lost = [given for given in self._under_way if given.place > arrived]
        self._under_way = deque(given for given in self._under_way if given.place <= arrived)
        self._place = arrived
        self._must.extendleft(given for given in reversed(lost) if given.must)
        offered = [given for given in lost if not given.must]
        if offered and self._newest is None:
            self._newest = offered.pop()
        self.dropped += len(offered)

    async def _arrived(self) -> int:
        """How many frames of the stream the server has, once no further one can arrive from the old connection."""
        arrived = -1
        while True:
            document = await self._connection.ask("GET", self._document["url"])
            if document.get("ended"):
                raise ApiError(410, {"error": str(document.get("reason", "the stream has ended")), "code": "stream_ended"})
            if document["frames"] == arrived:
                return arrived
            arrived = int(document["frames"])
            await asyncio.sleep(_SETTLING_SECONDS)


async def _each(frames: Any) -> AsyncIterator[Frame]:
    """Frames of either kind of source; one that waits for a camera does so in a thread."""
    if hasattr(frames, "__aiter__"):
        async for frame in frames:
            yield frame
        return
    iterator, end = iter(frames), object()
    while (frame := await asyncio.to_thread(next, iterator, end)) is not end:
        yield frame
