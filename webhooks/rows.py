"""What the parts of the outbox share: deliveries read from rows, and whether a statement changed any."""

from __future__ import annotations

from typing import Any

from sqlalchemy import CursorResult
from sqlalchemy.ext.asyncio import AsyncSession

from webhooks.model import Delivery
from webhooks.tables import DeliveryRow

#: The columns that `to_delivery` takes.
DELIVERY_COLUMNS = (
    DeliveryRow.job_id,
    DeliveryRow.stream,
    DeliveryRow.url,
    DeliveryRow.job_url,
    DeliveryRow.synchronous,
    DeliveryRow.created,
    DeliveryRow.attempts,
    DeliveryRow.finished,
    DeliveryRow.lease,
    DeliveryRow.body,
)


def to_delivery(row: Any) -> Delivery:
    """The delivery of a row with `DELIVERY_COLUMNS`."""
    return Delivery(*row)


async def changed(session: AsyncSession, statement: Any) -> bool:
    """Execute a statement; whether it changed a row."""
    result = await session.execute(statement)
    return isinstance(result, CursorResult) and result.rowcount > 0
