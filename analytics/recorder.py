"""From the queue into the database: what the workers told of visits.

Nothing here writes down anything of a visit but how many there were.
"""

from __future__ import annotations

import asyncio
import re
import time

from accounts.model import is_client_id
from analytics.store import Told, Visits
from analytics.writing import VisitWriter
from database.engine import Database
from shared import metrics
from shared.errors import BrokerAway, StoreAway
from shared.log import get_logger
from shared.ports import Broker, Consumer, Delivery
from shared.settings import Settings
from shared.visits import VISITS, UndecodableVisit, Visit, decode_visit

log = get_logger(__name__)

_DAY_MS = 86_400_000
#: Old visits are looked for this often, in seconds.
_FORGET_EVERY = 3600.0
#: What the tables can hold and dates can say: a beginning before the year 10000, a stay of at most a year, in seconds.
_LAST_BEGINNING, _LONGEST_STAY = 253_402_300_799.0, 366 * 86_400.0
_OLDEST = 1000.0
_ID = re.compile(r"[0-9A-Za-z-]{1,36}")
#: A queue of which nothing arrives is asked for its depth again after this time, in seconds.
_LOOK_AGAIN = 0.2


class Recorder:
    """Writes what arrives in one transaction at a time, and acknowledges it once it is committed."""

    def __init__(self, settings: Settings, broker: Broker, visits: Visits) -> None:
        self._settings, self._broker, self._visits = settings, broker, visits
        self._inbox: list[Delivery] = []
        self._arrived, self._written = asyncio.Event(), asyncio.Event()
        self._writer = VisitWriter(visits, settings.retry_pause_seconds)
        self._busy = False
        self._consumer: Consumer | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Bring the roll-ups in line with the settings, then begin to consume. Raises `StoreAway`, `BrokerAway`."""
        await self._prepare()
        self._tasks = [asyncio.create_task(self._keep_writing()), asyncio.create_task(self._keep_forgetting())]
        # Twice as many as are written at a time, so that the next batch is there when one is done.
        self._consumer = await self._broker.consume(VISITS, 2 * self._settings.recorder_batch, self.accept)

    async def verify(self) -> None:
        """Raise `BrokerAway` or `StoreAway` unless visits arrive and can be written."""
        await self._visits.ping()
        if self._consumer is None:
            raise BrokerAway("The recorder has not begun")
        await self._consumer.verify()

    async def stop(self, *, empty_queue: bool = False) -> None:
        """Take nothing more, write what is in hand, within ``drain_seconds``; what cannot be written goes back to the queue.

        ``empty_queue``: first take what is in the queue, because the queue ends with this process.
        """
        try:
            async with asyncio.timeout(self._settings.drain_seconds):
                if self._consumer is not None:
                    if empty_queue:
                        await self._empty_queue()
                    await self._consumer.stop()
                await self._finish_writing()
        except (TimeoutError, BrokerAway):
            log.warning("recorder.left_unwritten", deliveries=len(self._inbox))
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _prepare(self) -> None:
        if await self._visits.are_prepared():
            return
        log.info("roll_ups.begin")
        # Statements of a minute are in order here, and nowhere else.
        patient = Database(self._settings.database_url, self._settings.roll_up_seconds)
        try:
            await Visits(patient, self._settings.senior_age).prepare()
        finally:
            await patient.close()
        log.info("roll_ups.done")

    async def _empty_queue(self) -> None:
        while self._inbox or self._busy or (await self._broker.depth(VISITS)).ready:
            self._written.clear()
            try:
                await asyncio.wait_for(self._written.wait(), _LOOK_AGAIN)
            except TimeoutError:
                continue

    async def _finish_writing(self) -> None:
        self._writer.stop()
        self._arrived.set()
        if self._tasks:
            await asyncio.wait(self._tasks[:1])

    def accept(self, delivery: Delivery) -> None:
        """Write what this is about, soon, and settle it; what the consumer is given calls it."""
        self._inbox.append(delivery)
        self._arrived.set()

    async def _keep_writing(self) -> None:
        batch = self._settings.recorder_batch
        while self._inbox or not self._writer.stopping:
            await self._arrived.wait()
            self._arrived.clear()
            while self._inbox:
                deliveries, self._inbox = self._inbox[:batch], self._inbox[batch:]
                self._busy = True
                decoded = [(delivery, _decoded(delivery)) for delivery in deliveries]
                await self._writer.write([(delivery, told) for delivery, told in decoded if told is not None])
                self._busy = False
                self._written.set()

    async def _keep_forgetting(self) -> None:
        days = self._settings.visit_days
        while days:
            try:
                deleted = await self._visits.forget(int(time.time() * 1000) - days * _DAY_MS)
            except StoreAway as error:
                log.warning("recorder.store_away", reason=error.message)
            else:
                metrics.VISITS_DELETED.inc(deleted)
                log.info("visits.forgotten", count=deleted)
            await asyncio.sleep(_FORGET_EVERY)


def _decoded(delivery: Delivery) -> Told | None:
    try:
        stream, visit = decode_visit(delivery.body)
        if not (is_client_id(stream) and _can_be_kept(visit)):
            raise UndecodableVisit("a visit that the tables cannot hold")
    except UndecodableVisit as error:
        log.error("visit.undecodable", error=str(error))
        metrics.VISITS_DROPPED.labels("undecodable").inc()
        delivery.reject(requeue=False)
        return None
    return stream, visit


def _can_be_kept(visit: Visit) -> bool:
    stays = (visit.view_seconds, visit.stop_seconds, visit.attention_seconds)
    return (
        _ID.fullmatch(visit.id) is not None
        and visit.started <= _LAST_BEGINNING
        and max(stays) <= _LONGEST_STAY
        and (visit.age is None or visit.age <= _OLDEST)
        and (visit.happiness is None or visit.happiness <= 1)
    )
