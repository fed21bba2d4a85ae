"""When a frame's turn in its session has come.

The gateway numbered the frames; any worker may hold any of them. A frame is applied once every frame before it is
finished. Until then it is parked here, outside the model threads, and woken by the store's message that its session
advanced.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from shared import metrics
from shared.jobs import Turn
from shared.log import get_logger
from shared.ports import SessionStore, Snapshot

log = get_logger(__name__)


class TooManyParked(Exception):
    """This worker holds as many waiting frames as it may; the frame goes back to the queue."""


class Stopped(Exception):
    """This worker stops: the frame goes back to the queue, and another one waits for its turn."""


class Turns:
    """The frames of one service that wait in this worker."""

    def __init__(self, store: SessionStore, service: str, *, gap_seconds: float, most_parked: int) -> None:
        """``gap_seconds``: how long nothing of a session may end before a predecessor is missing. ``most_parked``: frames that wait at a time."""
        self._store = store
        self._service = service
        self._gap_seconds = gap_seconds
        self._most_parked = most_parked
        self._gauge = metrics.PARKED.labels(service)
        self._parked = 0
        self._waits: set[asyncio.Timeout] = set()
        self._stopping = False

    def stop(self) -> None:
        """Let go of all that wait, and of those that come: what they wait for may be done by others, or by nobody before this worker is gone."""
        self._stopping = True
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(0)

    async def wait(self, turn: Turn, on_park: Callable[[], None] | None = None) -> Snapshot | None:
        """The session as it is when the turn has come, or None when the turn is over already.

        ``on_park`` is called when it has to be waited for. A predecessor that stays away for too long is given up. Raises `TooManyParked`, `Stopped` and `StoreAway`.
        """
        snapshot = await self._store.load(turn.session)
        if not _waits(turn, snapshot):
            return _ready(turn, snapshot)
        if self._stopping:
            raise Stopped
        if self._parked >= self._most_parked:
            raise TooManyParked
        self._park(1)
        try:
            if on_park is not None:
                on_park()
            return await self._parked_until_ready(turn, snapshot)
        finally:
            self._park(-1)

    async def _parked_until_ready(self, turn: Turn, snapshot: Snapshot) -> Snapshot | None:
        """A predecessor is missing when nothing of the session has ended for the whole time. While they end one after the other, however
        slowly, none is: on a busy machine a frame would else go on without those that are being computed."""
        came, reached = False, -1
        while not came and _waits(turn, snapshot) and snapshot.finished > reached:
            reached = snapshot.finished
            came = await self._comes(turn)
            snapshot = await self._store.load(turn.session)
        if not came and _waits(turn, snapshot):
            log.warning("session.gap", service=self._service, missing=turn.number - 1 - snapshot.finished)
        return _ready(turn, snapshot)

    async def _comes(self, turn: Turn) -> bool:
        """Whether the turn comes within the time that a predecessor may be missing."""
        if self._stopping:
            raise Stopped
        try:
            async with asyncio.timeout(self._gap_seconds) as wait:
                self._waits.add(wait)
                try:
                    await self._store.advanced(turn.session, turn.number - 1)
                finally:
                    self._waits.discard(wait)
        except TimeoutError:
            if self._stopping:
                raise Stopped from None
            return False
        return True

    def _park(self, change: int) -> None:
        self._parked += change
        self._gauge.set(self._parked)


def _waits(turn: Turn, snapshot: Snapshot) -> bool:
    """A store that has given fewer numbers than this turn's has lost the session: then there is nobody to wait for."""
    return snapshot.finished < turn.number - 1 and turn.number <= snapshot.numbered


def _ready(turn: Turn, snapshot: Snapshot) -> Snapshot | None:
    return None if snapshot.finished >= turn.number else snapshot
