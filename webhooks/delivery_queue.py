"""The deliveries that are due, shared by all processes: each is claimed for a while, attempted, and settled.

What is claimed is nobody else's until its lease ends, and a delivery whose lease was given to somebody else
is not changed any more. Every method may raise `shared.errors.StoreAway`. Times in milliseconds since 1970.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, exists, func, select, update

from database.engine import Database
from webhooks.model import OPEN, Delivery, DeliveryState, Result, endpoint_of
from webhooks.rows import DELIVERY_COLUMNS, changed, to_delivery
from webhooks.tables import DeliveryRow, DisabledRow

_CLOSED: dict[str, Any] = {"body": None, "lease": 0}


class DeliveryQueue:
    """Deliveries on their way out: claimed, given back, settled; and the receivers that change their fate."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def has_due(self, now: int) -> bool:
        """Whether `claim` might give something."""
        async with self._database.reading() as session:
            return bool(await session.scalar(select(exists().where(*_due(now)))))

    async def claim(
        self,
        now: int,
        lease: int,
        *,
        most: int,
        each: int,
        busy: Sequence[str],
    ) -> list[Delivery]:
        """Deliveries that are due, ours until ``lease``.

        At most ``most``, of a stream at most ``each``, and none of the streams that are ``busy``.
        """
        order = (DeliveryRow.next_at, DeliveryRow.job_id)
        place = func.row_number().over(partition_by=DeliveryRow.stream, order_by=order)
        ranked = select(DeliveryRow.job_id, DeliveryRow.next_at, place.label("place"))
        ranked = ranked.where(*_due(now))
        if busy:
            ranked = ranked.where(DeliveryRow.stream.not_in(list(busy)))
        lines = ranked.subquery()
        chosen = select(lines.c.job_id).where(lines.c.place <= each).order_by(lines.c.next_at).limit(most)
        # Asked again of each row: another process may have claimed it between the choice and the change.
        claimed = update(DeliveryRow).where(DeliveryRow.job_id.in_(chosen), *_due(now)).values(lease=lease)
        async with self._database.writing() as session:
            rows = await session.execute(claimed.returning(*DELIVERY_COLUMNS))
            return [to_delivery(row) for row in rows]

    async def release(self, claimed: Sequence[Delivery]) -> None:
        """Give deliveries back untried."""
        if claimed:
            async with self._database.writing() as session:
                ours = DeliveryRow.job_id.in_([one.job_id for one in claimed])
                still = DeliveryRow.lease.in_([one.lease for one in claimed])
                await session.execute(update(DeliveryRow).where(ours, still).values(lease=0))

    async def settle(self, claimed: Delivery, state: DeliveryState, result: Result, next_at: int) -> bool:
        """How a try went. ``state``: due again at ``next_at``, or done, to be forgotten then.

        False when the lease had ended.
        """
        failed = 0 if result.delivered else 1
        values: dict[str, Any] = {"state": state, "next_at": next_at, "lease": 0}
        values |= {"status": result.status, "error": result.error, "attempts": DeliveryRow.attempts + failed}
        if state is not DeliveryState.DUE:
            values |= _CLOSED
        async with self._database.writing() as session:
            return await changed(session, _own(claimed).values(**values))

    async def hurry(self, delivered: Delivery, now: int) -> None:
        """The receiver is back: what waits to be tried again there is due now."""
        same = DeliveryRow.endpoint == endpoint_of(delivered.stream, delivered.url)
        waits = DeliveryRow.state == DeliveryState.DUE, DeliveryRow.next_at > now, DeliveryRow.lease <= now
        async with self._database.writing() as session:
            await session.execute(update(DeliveryRow).where(same, *waits).values(next_at=now))

    async def disable(self, claimed: Delivery, now: int, forget_at: int) -> None:
        """The receiver wants nothing any more: none of the stream's deliveries to it are tried again."""
        endpoint = endpoint_of(claimed.stream, claimed.url)
        values = {"state": DeliveryState.DISABLED, "next_at": forget_at, **_CLOSED}
        async with self._database.writing() as session:
            if not await changed(session, _own(claimed).values(status=410)):
                return  # it is somebody else's, or its stream is gone
            open_ones = DeliveryRow.endpoint == endpoint, DeliveryRow.state.in_(OPEN)
            await session.execute(update(DeliveryRow).where(*open_ones).values(**values))
            disabled = DisabledRow(endpoint=endpoint, stream=claimed.stream, url=claimed.url, since=now)
            await session.merge(disabled)


def _due(now: int) -> tuple[ColumnElement[bool], ...]:
    return DeliveryRow.state == DeliveryState.DUE, DeliveryRow.next_at <= now, DeliveryRow.lease <= now


def _own(claimed: Delivery) -> Any:
    return update(DeliveryRow).where(DeliveryRow.job_id == claimed.job_id, DeliveryRow.lease == claimed.lease)
