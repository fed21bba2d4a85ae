"""The network's side of a stream of frames: one connection after the other, with the session kept."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from angus._core.documents import child
from angus._core.requests import body_of, file_bytes
from angus.aio.flight import Frames
from angus.aio.socket import Closed, Socket, connect
from angus.errors import AngusError, ApiError

if TYPE_CHECKING:
    from angus.aio.resources import Service

log = logging.getLogger("angus")
#: Seconds between two looks at how many frames a broken connection delivered; equal twice means that no
#: further one arrives.
_SETTLING_SECONDS = 0.2
_GONE = (404, 410)


class Exchange:
    """Sends the frames of a stream and takes their answers."""

    def __init__(self, service: Service, parameters: Mapping[str, Any], frames: Frames) -> None:
        """``parameters`` are those of the stream, its session's state among them."""
        self._service, self._connection = service, service._connection
        self._parameters, self._frames = parameters, frames
        #: The stream as the server describes it.
        self._document: dict[str, Any] = {}
        #: Connections made anew.
        self.reconnected = 0

    async def open(self) -> None:
        """Make the stream, or the next one of the same session."""
        body = await asyncio.to_thread(body_of, dict(self._parameters))
        self._document = await self._connection.ask("POST", child(self._service.endpoint, "streams"), body)
        self._frames.in_flight.restart()

    async def end(self) -> None:
        """End the stream, and its session with it."""
        try:
            await self._connection.ask("DELETE", self._document["url"])
        except AngusError as error:
            log.info("the stream ends by itself, since it could not be ended: %s", error)

    async def run(self) -> None:
        """Connections, one after the other, until the last answer."""
        in_flight = self._frames.in_flight
        failures = 0
        while True:
            before = in_flight.answered
            try:
                url = f"{self._document['websocket']}?after={before}"
                async with connect(self._connection, url) as socket:
                    return await self._converse(socket)
            except Closed as closed:
                failures = 1 if in_flight.answered > before else failures + 1
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
        while (given := await self._frames.next()) is not None:
            if given.data is None:
                given.data = await asyncio.to_thread(file_bytes, given.frame)
            if given.parameters != parameters:
                parameters = given.parameters
                await socket.send(body_of(parameters).text)
            await socket.send(given.data)

    async def _read(self, socket: Socket) -> None:
        while True:
            self._frames.take(json.loads(await socket.receive()))

    async def _resume(self) -> None:
        """Where the server has ended the stream meanwhile, the session goes on with the next one."""
        try:
            arrived = await self._arrived()
        except ApiError as error:
            if error.status not in _GONE:
                raise
            await self.open()
            arrived = 0
        self._frames.resume(arrived)

    async def _arrived(self) -> int:
        """How many frames of the stream the server has, once the old connection can bring no further one."""
        arrived = -1
        while True:
            document = await self._connection.ask("GET", self._document["url"])
            if document.get("ended"):
                reason = str(document.get("reason", "the stream has ended"))
                raise ApiError(410, {"error": reason, "code": "stream_ended"})
            if document["frames"] == arrived:
                return arrived
            arrived = int(document["frames"])
            await asyncio.sleep(_SETTLING_SECONDS)
