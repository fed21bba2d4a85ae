"""The deliveries in the database: written before their job is accepted, kept until delivered or given up.

Every method may raise `shared.errors.StoreAway`. Times in milliseconds since 1970. Several processes may
work on one outbox.
"""

from __future__ import annotations

from sqlalchemy import CursorResult, case, delete, func, select, update

from database.engine import Database
from webhooks.delivery_log import DeliveryLog, SecretGenerations
from webhooks.delivery_queue import DeliveryQueue
from webhooks.model import OPEN, Delivery, DeliveryState, endpoint_of
from webhooks.rows import DELIVERY_COLUMNS, changed, to_delivery
from webhooks.tables import DeliveryRow, DisabledRow

_FORGOTTEN_AT_A_TIME = 1000


class OutboxFull(Exception):
    """So many deliveries of this stream are open that there is no room for another."""


class Outbox:
    """Deliveries from the note to the end of their jobs, and the way to everything else about them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        #: Those that are due.
        self.queue = DeliveryQueue(database)
        #: What their owners see.
        self.log = DeliveryLog(database)
        #: What they are signed with.
        self.generations = SecretGenerations(database)

    # A job's way in

    async def add(self, delivery: Delivery, look_at: int, most: int) -> bool:
        """Note a delivery whose job's end is looked for from ``look_at`` on. False: its receiver is disabled.

        Raises `OutboxFull` when ``most`` deliveries of the stream are open.
        """
        endpoint = endpoint_of(delivery.stream, delivery.url)
        async with self._database.writing() as session:
            if await session.get(DisabledRow, endpoint) is not None:
                return False
            mine = DeliveryRow.stream == delivery.stream, DeliveryRow.state.in_(OPEN)
            counted = select(DeliveryRow.job_id).where(*mine).limit(most).subquery()
            if (await session.scalar(select(func.count()).select_from(counted)) or 0) >= most:
                raise OutboxFull
            session.add(
                DeliveryRow(
                    job_id=delivery.job_id,
                    stream=delivery.stream,
                    endpoint=endpoint,
                    url=delivery.url,
                    job_url=delivery.job_url,
                    synchronous=delivery.synchronous,
                    created=delivery.created,
                    state=DeliveryState.WAITING,
                    next_at=look_at,
                    finished=0,
                    lease=0,
                    attempts=0,
                )
            )
        return True

    async def remove(self, job_id: str) -> None:
        """Forget a delivery whose job was not accepted."""
        async with self._database.writing() as session:
            mine = DeliveryRow.job_id == job_id, DeliveryRow.state == DeliveryState.WAITING
            await session.execute(delete(DeliveryRow).where(*mine))

    # Its end

    async def waiting(self, now: int, most: int) -> list[Delivery]:
        """Deliveries whose job's end is to be looked for."""
        looked_for = DeliveryRow.state == DeliveryState.WAITING, DeliveryRow.next_at <= now
        chosen = select(*DELIVERY_COLUMNS).where(*looked_for)
        async with self._database.reading() as session:
            rows = await session.execute(chosen.order_by(DeliveryRow.next_at).limit(most))
            return [to_delivery(row) for row in rows]

    async def look_later(self, next_at: dict[str, int]) -> None:
        """When the ends of these jobs, by id, are looked for again."""
        if not next_at:
            return
        mine = DeliveryRow.job_id.in_(list(next_at)), DeliveryRow.state == DeliveryState.WAITING
        async with self._database.writing() as session:
            each = case(next_at, value=DeliveryRow.job_id)
            await session.execute(update(DeliveryRow).where(*mine).values(next_at=each))

    async def finish(self, job_id: str, body: bytes, now: int, lease: int = 0) -> bool:
        """The job ended, as ``body`` tells: due now, and ours until ``lease``. False when that was known."""
        mine = DeliveryRow.job_id == job_id, DeliveryRow.state == DeliveryState.WAITING
        values = {"state": DeliveryState.DUE, "body": body, "next_at": now, "finished": now, "lease": lease}
        async with self._database.writing() as session:
            return await changed(session, update(DeliveryRow).where(*mine).values(**values))

    async def forget(self, now: int) -> None:
        """Drop records of what is done and whose time is over."""
        over = DeliveryRow.state.not_in(OPEN), DeliveryRow.next_at <= now
        done = select(DeliveryRow.job_id).where(*over).limit(_FORGOTTEN_AT_A_TIME)
        more = True
        while more:
            async with self._database.writing() as session:
                result = await session.execute(delete(DeliveryRow).where(DeliveryRow.job_id.in_(done)))
            more = isinstance(result, CursorResult) and result.rowcount == _FORGOTTEN_AT_A_TIME
