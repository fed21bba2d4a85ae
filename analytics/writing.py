"""Visits into the database, each of their deliveries settled once."""

from __future__ import annotations

import asyncio

from analytics.store import Told, Visits
from shared import metrics
from shared.errors import StoreAway
from shared.log import get_logger
from shared.ports import Delivery

log = get_logger(__name__)


class VisitWriter:
    """Writes deliveries of visits in one transaction, and acknowledges them once it is committed."""

    def __init__(self, visits: Visits, retry_pause: float) -> None:
        """``retry_pause``: seconds between tries."""
        self._visits, self._retry_pause = visits, retry_pause
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """From now on what cannot be written is requeued."""
        self._stopping.set()

    @property
    def stopping(self) -> bool:
        return self._stopping.is_set()

    async def write(self, told: list[tuple[Delivery, Told]]) -> None:
        """Write and settle these.

        Until it is done: handing visits back while the database is away would use up their deliveries, and
        they would be lost.
        """
        while told:
            try:
                dropped = await self._visits.write([visit for _, visit in told])
            except StoreAway as error:
                log.warning("recorder.store_away", deliveries=len(told), reason=error.message)
                if await self._stops_within(self._retry_pause):
                    for delivery, _ in told:
                        delivery.reject(requeue=True)
                    return
            except Exception as error:  # noqa: BLE001 - one odd visit must not end the recording
                await self._write_one_by_one(told, error)
                return
            else:
                _settle(told, dropped)
                return

    async def _write_one_by_one(self, told: list[tuple[Delivery, Told]], error: Exception) -> None:
        """The database refuses one of these: the others must not suffer for it."""
        if len(told) > 1:
            for one in told:
                await self.write([one])
            return
        log.error("visit.refused", error=type(error).__name__)
        metrics.VISITS_DROPPED.labels("refused").inc()
        told[0][0].reject(requeue=False)

    async def _stops_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


def _settle(told: list[tuple[Delivery, Told]], dropped: int) -> None:
    metrics.VISITS_WRITTEN.inc(len(told) - dropped)
    if dropped:
        metrics.VISITS_DROPPED.labels("no_stream").inc(dropped)
        log.warning("visits.dropped", reason="no_stream", count=dropped)
    for delivery, _ in told:
        delivery.ack()
