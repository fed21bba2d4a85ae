"""Frames on their way to becoming jobs: in order, and never more under way than the stream's window holds.

Whoever takes frames from a connection waits in `Intake.take` while the window is full, and so reads no further: the sender
is slowed down by its own connection. In a live stream nobody waits; there the newest frame replaces the one that waits.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gateway.http.parsing import ATTACHMENT, Document
from gateway.jobs.requests import Request, read_envelope
from gateway.state import Gate
from gateway.streams.access import FrameStream, default_data_field, is_file
from gateway.streams.places import Place, Places
from shared import metrics
from shared.errors import InvalidParameter, NotFound, PerceptionError, StreamEnded, StreamTaken, Unauthorized
from shared.events import Failed
from shared.log import get_logger
from shared.ports import Entry

log = get_logger(__name__)
#: A job's end is told by its worker, or by the keeper of dead letters a moment after its deadline.
TOLD_SECONDS = 5.0
_ATTACHED = f"{ATTACHMENT}frame"


@dataclass(frozen=True, slots=True)
class Frame:
    """What came of a connection: bytes, the parameter that they are for, and further parameters, or what is wrong with these."""

    data: bytes
    parameters: Mapping[str, Any]
    data_field: str | None = None
    fault: PerceptionError | None = None


class Window:
    """Room for so many frames and bytes under way. A frame that is larger than the whole room gets it alone."""

    def __init__(self, frames: int, size: int) -> None:
        self._most_frames, self._most_bytes = frames, size
        self._frames, self._bytes = 0, 0
        self._waiter: asyncio.Future[None] | None = None

    def has_room(self, size: int) -> bool:
        return not self._frames or (self._frames < self._most_frames and self._bytes + size <= self._most_bytes)

    async def wait(self, size: int) -> None:
        """Return once there is room; one waits at a time."""
        while not self.has_room(size):
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None

    def enter(self, size: int) -> None:
        self._frames += 1
        self._bytes += size

    def leave(self, size: int) -> None:
        self._frames -= 1
        self._bytes -= size
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Intake:
    """The frames of one connection."""

    def __init__(self, gate: Gate, stream: FrameStream) -> None:
        settings, options = gate.settings, stream.about.options
        self._gate, self._stream, self._live = gate, stream, options.live
        most = settings.stream_live_window if options.live else settings.stream_window
        self._window = Window(min(options.window or most, settings.stream_window), settings.stream_window_bytes)
        self._data_field = options.data_field or default_data_field(stream.service)
        self._places = Places(gate, stream)
        #: In a live stream, the frame that waits for room.
        self._newest: Frame | None = None
        #: Done when no frame can be taken any more; its result says why.
        self.broken: asyncio.Future[PerceptionError] = asyncio.get_running_loop().create_future()

    @property
    def accepted(self) -> int:
        """Frames that became jobs, or failures."""
        return self._places.accepted

    @property
    def dropped(self) -> int:
        """Frames that gave way to newer ones."""
        return self._places.dropped

    async def take(self, frame: Frame) -> None:
        """Take a frame; returns when the next one may be read."""
        if not self._live:
            await self._window.wait(len(frame.data))
            self._start(frame)
        elif self._newest is None and self._window.has_room(len(frame.data)):
            self._start(frame)
        else:
            if self._newest is not None:
                self._places.drop()
            self._newest = frame

    async def settle(self) -> None:
        """Return once every frame that was taken is in its place in the stream."""
        while self._newest is not None and not self.broken.done():
            await self._window.wait(len(self._newest.data))
            self._start_newest()
        await self._places.settle()

    def _start(self, frame: Frame) -> None:
        place = self._places.next()
        self._window.enter(len(frame.data))
        self._gate.streams.start(self._do(frame, place))

    def _start_newest(self) -> None:
        frame = self._newest
        if frame is not None and self._window.has_room(len(frame.data)) and not self.broken.done():
            self._newest = None
            self._start(frame)

    async def _do(self, frame: Frame, place: Place) -> None:
        try:
            await self._submit(frame, place)
        except (StreamEnded, StreamTaken, Unauthorized, NotFound) as error:
            self._break(error)
        except PerceptionError as error:
            await self._answer_with(error, place)
        finally:
            place.leave()
            self._window.leave(len(frame.data))
            self._start_newest()

    async def _submit(self, frame: Frame, place: Place) -> None:
        """Make the frame a job and wait for its end, which makes room for another frame."""
        if frame.fault is not None:
            raise frame.fault
        document = self._document(frame)
        envelope = read_envelope(document.parameters)
        stream, lasts = self._stream, self._gate.settings.stream_frame_seconds
        # A connection lasts for hours, and what its stream may do can change meanwhile.
        tenant = await self._gate.authenticate.current(stream.tenant.id, stream.tenant.fingerprint, stream.tenant)
        service = self._gate.offers.service(tenant, stream.service.name, stream.service.version)
        request = Request(tenant, service, document, stream.base_url, lasts=lasts, place=place.enter)
        async with self._gate.submitter.submit(request, envelope, synchronous=True) as submitted:
            metrics.STREAM_FRAMES.labels(stream.service.name).inc()
            try:
                async with asyncio.timeout(lasts + TOLD_SECONDS):
                    async for _, event in submitted.events:
                        if event.final:
                            return
            except TimeoutError:
                log.warning("stream.frame_unfinished", service=stream.service.name)

    def _document(self, frame: Frame) -> Document:
        about = self._stream.about
        parameters = {**about.parameters, **frame.parameters, "state": {"session_id": about.session_id}}
        name = frame.data_field or self._data_field
        if name is None or name not in self._stream.service.input_type.model_fields:
            return Document(parameters)
        if is_file(self._stream.service, name):
            return Document({**parameters, name: _ATTACHED}, {_ATTACHED: frame.data})
        try:
            return Document({**parameters, name: frame.data.decode()})
        except UnicodeDecodeError:
            raise InvalidParameter(f"{name}: the frame's bytes must be UTF-8 text", parameter=name) from None

    async def _answer_with(self, error: PerceptionError, place: Place) -> None:
        """A frame that could not become a job has its failure in its place."""
        stores = self._gate.stores
        try:
            if place.job_id is None:
                job_id = self._gate.ids.make(self._stream.job_owner, synchronous=True)
                async with place.enter(job_id):
                    pass
            if place.number and place.job_id is not None:
                await stores.results.append([Entry(place.job_id, Failed.of(error, time.time()))])
        except PerceptionError as fault:
            self._break(fault)
        else:
            if not place.number:
                self._break(error)

    def _break(self, error: PerceptionError) -> None:
        if not self.broken.done():
            self.broken.set_result(error)
