"""The frames of a stream, from when they are given to when their answers are read; no network here."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, TypeVar

from angus import results
from angus._core.changes import Changes

T = TypeVar("T")
#: Answers that wait for their reader before no further frame is sent.
UNREAD = 64

#: A frame: open binary file, bytes, path or picture as an array; or (its own parameters, frame).
Frame = Any


@dataclass(frozen=True)
class Answer:
    """What came back for a frame.

    ``number``: the frame's, counted from 0 as they were given. ``result``: the document, as that of a job; a
    frame that could not be done has ``error`` in it. ``seconds``: from when the frame was given to when its
    answer was here. ``dropped``: frames that had given way so far.
    """

    number: int
    result: dict[str, Any]
    seconds: float
    dropped: int

    def parse(self, kind: type[T]) -> T:
        """The answer as one of the dataclasses of `angus.results`.

        Raises `ValueError` when there is no such answer.
        """
        return results.parse(kind, self.result)


@dataclass(eq=False)
class Given:
    """A frame on its way."""

    number: int
    frame: Frame
    parameters: Mapping[str, Any]
    begun: float
    #: It is not to be dropped.
    must: bool
    data: Optional[bytes] = None
    #: Its number in the server's count, once sent.
    place: int = 0


class Waiting:
    """Frames that were given and not sent. Of those that may be dropped there is only the newest."""

    def __init__(self) -> None:
        self._must: deque[Given] = deque()
        self._newest: Optional[Given] = None

    def __bool__(self) -> bool:
        return bool(self._must) or self._newest is not None

    def __contains__(self, given: Given) -> bool:
        return given is self._newest or given in self._must

    def add(self, given: Given) -> int:
        """Returns how many frames gave way to it."""
        if given.must:
            self._must.append(given)
            return 0
        gave_way = self._newest is not None
        self._newest = given
        return int(gave_way)

    def next(self) -> Optional[Given]:
        """The frame to be sent now, waiting no longer."""
        if self._must:
            return self._must.popleft()
        given, self._newest = self._newest, None
        return given

    def put_back(self, lost: list[Given]) -> int:
        """Frames that were sent in vain. Returns how many gave way.

        Those that are not to be dropped wait again, and so does the newest, if no newer one waits.
        """
        self._must.extendleft(given for given in reversed(lost) if given.must)
        offered = [given for given in lost if not given.must]
        if offered and self._newest is None:
            self._newest = offered.pop()
        return len(offered)


class InFlight:
    """Frames that were sent and not answered, in the server's count."""

    def __init__(self, window: int) -> None:
        self._window = window
        self._frames: deque[Given] = deque()
        self._sent = 0
        #: The place of the last frame with an answer.
        self.answered = 0

    def __len__(self) -> int:
        return len(self._frames)

    def has_room(self) -> bool:
        return len(self._frames) < self._window

    def add(self, given: Given) -> None:
        self._sent += 1
        given.place = self._sent
        self._frames.append(given)

    def answer(self, place: int) -> tuple[Optional[Given], int]:
        """The frame at this place, in flight no longer, and how many before it get no answer any more."""
        self.answered = max(self.answered, place)
        lost = 0
        while self._frames and self._frames[0].place < place:
            self._frames.popleft()
            lost += 1
        if self._frames and self._frames[0].place == place:
            return self._frames.popleft(), lost
        return None, lost

    def restart(self) -> None:
        """The server counts from the beginning, as it does in each of its streams."""
        self._sent = self.answered = 0

    def keep(self, arrived: int) -> list[Given]:
        """After a connection broke: keep the frames that the server has. Returns the others."""
        lost = [given for given in self._frames if given.place > arrived]
        self._frames = deque(given for given in self._frames if given.place <= arrived)
        self._sent = arrived
        return lost


class Frames:
    """All frames of a stream: those that wait, those in flight, and the answers that nobody has read."""

    def __init__(self, window: int) -> None:
        self.in_flight = InFlight(window)
        self.changes = Changes()
        #: Frames that were given, and those that gave way to newer ones or were lost with a connection.
        self.given = self.dropped = 0
        #: What ended the stream early, if anything did.
        self.error: Optional[Exception] = None
        self._waiting = Waiting()
        self._answers: deque[Answer] = deque()
        self._finished = False

    def give(self, frame: Frame, parameters: Optional[Mapping[str, Any]], *, must: bool) -> Given:
        """The frame waits to be sent. Raises what ended the stream, if anything did."""
        if self.error is not None:
            raise self.error
        if self._finished:
            raise ValueError("the stream is finished: there can be no further frame")
        given = Given(self.given, frame, parameters or {}, asyncio.get_running_loop().time(), must)
        self.given += 1
        self.dropped += self._waiting.add(given)
        self.changes.tell()
        return given

    async def sent(self, given: Given) -> None:
        """Return once the frame waits no longer, or the stream has ended."""
        await self.changes.until(lambda: given not in self._waiting or self.error is not None)

    def finish(self) -> None:
        self._finished = True
        self.changes.tell()

    def fail(self, error: Exception) -> None:
        """The first error is what ended the stream."""
        self.error = self.error or error
        self.changes.tell()

    def is_over(self) -> bool:
        return self._finished and not (self._waiting or self.in_flight)

    async def next(self) -> Optional[Given]:
        """The frame to be sent now, in flight from here on; waits for it. None after the last answer."""
        await self.changes.until(lambda: self.is_over() or self._may_send())
        given = self._waiting.next()
        if given is not None:
            self.in_flight.add(given)
            self.changes.tell()
        return given

    def _may_send(self) -> bool:
        return bool(self._waiting) and self.in_flight.has_room() and len(self._answers) < UNREAD

    def take(self, document: dict[str, Any]) -> None:
        """An answer has come."""
        given, lost = self.in_flight.answer(document.get("stream", {}).get("frame", 0))
        self.dropped += lost
        if given is not None:
            seconds = asyncio.get_running_loop().time() - given.begun
            self._answers.append(Answer(given.number, document, seconds, self.dropped))
        self.changes.tell()

    async def answer(self) -> Optional[Answer]:
        """The next answer; None after the last. Raises what ended the stream, after the answers before."""
        await self.changes.until(lambda: self._answers or self.error is not None or self.is_over())
        if self._answers:
            answer = self._answers.popleft()
            self.changes.tell()
            return answer
        if self.error is not None:
            raise self.error
        return None

    def resume(self, arrived: int) -> None:
        """After a connection broke: what the server has of the frames in flight will be answered."""
        self.dropped += self._waiting.put_back(self.in_flight.keep(arrived))
