"""From the queue into the database: what the workers told of visits."""

from __future__ import annotations

import asyncio
import time

from sqlalchemy.exc import SQLAlchemyError

from analytics.store import Told, Visits
from shared import metrics
from shared.errors import BrokerAway, StoreAway
from shared.log import get_logger
from shared.ports import Broker, Consumer, Delivery
from shared.settings import Settings
from shared.visits import VISITS, UndecodableVisit, decode_visit

log = get_logger(__name__)

_DAY_MS = 86_400_000
#: Old visits are looked for this often, in seconds.
_FORGET_EVERY = 3600.0


class Recorder:
    """Writes what arrives in one transaction at a time, and acknowledges it once it is committed."""

    def __init__(self, settings: Settings, broker: Broker, visits: Visits) -> None:
        self._broker, self._visits = broker, visits
        self._batch, self._pause, self._drain = settings.recorder_batch, settings.retry_pause_seconds, settings.drain_seconds
        self._days = settings.visit_days
        self._inbox: list[Delivery] = []
        self._arrived = asyncio.Event()
        self._stopping = False
        self._consumer: Consumer | None = None
        self._writing: asyncio.Task[None] | None = None
        self._forgetting: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Bring the roll-ups in line with the settings, then begin to consume. Raises `StoreAway`, `BrokerAway`."""
        if await self._visits.prepare():
            log.info("roll_ups.made_anew")
        self._consumer = await self._broker.consume(VISITS, self._batch, self._handle)
        self._writing = asyncio.create_task(self._keep_writing())
        self._forgetting = asyncio.create_task(self._keep_forgetting())

    async def verify(self) -> None:
        """Raise `BrokerAway` or `StoreAway` unless visits arrive and can be written."""
        await self._visits.ping()
        if self._consumer is None:
            raise BrokerAway("The recorder has not begun")
        await self._consumer.verify()

    async def stop(self) -> None:
        """Take nothing more, write what is in hand; what cannot be written in time goes back to the queue with the connection."""
        if self._consumer is not None:
            await self._consumer.stop()
        if self._forgetting is not None:
            self._forgetting.cancel()
        if self._writing is not None:
            self._stopping = True
            self._arrived.set()
            done, _ = await asyncio.wait({self._writing}, timeout=self._drain)
            if not done:
                log.warning("recorder.left_unwritten", deliveries=len(self._inbox))
                self._writing.cancel()

    def _handle(self, delivery: Delivery) -> None:
        self._inbox.append(delivery)
        self._arrived.set()

    async def _keep_writing(self) -> None:
        while self._inbox or not self._stopping:
            await self._arrived.wait()
            await self._write_what_is_there()

    async def _write_what_is_there(self) -> None:
        deliveries, self._inbox = self._inbox[: self._batch], self._inbox[self._batch :]
        if not self._inbox and not self._stopping:
            self._arrived.clear()
        told = [(delivery, visit) for delivery in deliveries if (visit := _decoded(delivery)) is not None]
        if told:
            await self._write(told)

    async def _write(self, told: list[tuple[Delivery, Told]]) -> None:
        try:
            dropped = await self._visits.write([visit for _, visit in told])
        except StoreAway as error:
            log.warning("recorder.store_away", deliveries=len(told), reason=error.message)
            await asyncio.sleep(self._pause)
            for delivery, _ in told:
                delivery.reject(requeue=True)
        except SQLAlchemyError:
            await self._write_one_by_one(told)
        else:
            metrics.VISITS_WRITTEN.inc(len(told) - dropped)
            if dropped:
                metrics.VISITS_DROPPED.labels("no_stream").inc(dropped)
                log.warning("visits.dropped", reason="no_stream", count=dropped)
            for delivery, _ in told:
                delivery.ack()

    async def _write_one_by_one(self, told: list[tuple[Delivery, Told]]) -> None:
        """The database refuses one of these: the others must not suffer for it."""
        if len(told) > 1:
            for one in told:
                await self._write([one])
            return
        log.exception("visit.refused")
        metrics.VISITS_DROPPED.labels("refused").inc()
        told[0][0].reject(requeue=False)

    async def _keep_forgetting(self) -> None:
        while self._days:
            try:
                deleted = await self._visits.forget(int(time.time() * 1000) - self._days * _DAY_MS)
            except StoreAway as error:
                log.warning("recorder.store_away", reason=error.message)
            else:
                metrics.VISITS_DELETED.inc(deleted)
                log.info("visits.forgotten", count=deleted)
            await asyncio.sleep(_FORGET_EVERY)


def _decoded(delivery: Delivery) -> Told | None:
    try:
        return decode_visit(delivery.body)
    except UndecodableVisit as error:
        log.error("visit.undecodable", error=str(error))
        metrics.VISITS_DROPPED.labels("undecodable").inc()
        delivery.reject(requeue=False)
        return None
