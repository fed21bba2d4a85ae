"""All connections of streams of frames in this process: how many there may be, and how they end when the process does."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from shared import metrics
from shared.aio import BackgroundTasks
from shared.errors import PerceptionError, Stopping, Unavailable
from shared.log import get_logger
from shared.settings import Settings

log = get_logger(__name__)


class StreamHub:
    """What the connections of streams have in common."""

    def __init__(self, settings: Settings) -> None:
        self._most, self._drain_seconds = settings.stream_connections, settings.drain_seconds
        self._connections = 0
        self._frames = BackgroundTasks()
        #: Done once the process takes no more frames.
        self.stopping: asyncio.Future[PerceptionError] = asyncio.get_running_loop().create_future()

    @contextmanager
    def connection(self, form: str) -> Iterator[None]:
        """Count a connection while it lasts. Raises `Unavailable` for one too many, `Stopping` once the process goes down."""
        if self.stopping.done():
            raise Stopping
        if self._connections >= self._most:
            raise Unavailable(f"this gateway has {self._most} connections of streams, which is the most")
        gauge = metrics.STREAM_CONNECTIONS.labels(form)
        self._connections += 1
        gauge.inc()
        try:
            yield
        finally:
            self._connections -= 1
            gauge.dec()

    def start(self, frame: Coroutine[Any, Any, None]) -> None:
        """Run a frame to its end, also when the connection that brought it is gone."""
        self._frames.start(frame)

    def stop(self) -> None:
        """Take no more frames: each connection ends once it has told what is under way."""
        if not self.stopping.done():
            log.info("streams.stopping", connections=self._connections, frames=len(self._frames))
            self.stopping.set_result(Stopping())

    async def quiet(self) -> None:
        """Return once no frame of this process is under way, or the time to drain is over."""
        await self._frames.wait(self._drain_seconds)


async def first_of(*awaited: asyncio.Future[Any]) -> PerceptionError | None:
    """Wait for the first of several things to be over; the error that it was, gave or raised. Other exceptions are raised."""
    await asyncio.wait(awaited, return_when=asyncio.FIRST_COMPLETED)
    over = next(one for one in awaited if one.done())
    if over.cancelled():
        return None
    error = over.exception()
    if error is None:
        result = over.result()
        return result if isinstance(result, PerceptionError) else None
    if isinstance(error, PerceptionError):
        return error
    raise error


async def give_up(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they came to."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
