"""The deliveries in the database: written before their job is accepted, kept until the receiver took them or was given up.

Every method may raise `shared.errors.StoreAway`. Times in milliseconds since 1970. Several processes may work on one outbox: what is
claimed is nobody else's until its lease ends, and a delivery whose lease was given to somebody else is not changed any more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, CursorResult, case, delete, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from database.engine import Database
from webhooks.model import OPEN, Delivery, DeliveryState, Disabled, Listed, Result, endpoint_of
from webhooks.tables import DeliveryRow, DisabledRow, SecretRow

_COLUMNS = (
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
_FORGOTTEN_AT_A_TIME = 1000
_CLOSED: dict[str, Any] = {"body": None, "lease": 0}


class OutboxFull(Exception):
    """So many deliveries of this stream are open that there is no room for another."""


class Outbox:
    """What gateways note, try and settle."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # A job's way in

    async def add(self, delivery: Delivery, look_at: int, most: int) -> bool:
        """Note a delivery whose job's end is looked for from ``look_at`` on. False when its receiver is disabled.

        Raises `OutboxFull` when ``most`` deliveries of the stream are open.
        """
        endpoint = endpoint_of(delivery.stream, delivery.url)
        async with self._database.writing() as session:
            if await session.get(DisabledRow, endpoint) is not None:
                return False
            mine = select(DeliveryRow.job_id).where(DeliveryRow.stream == delivery.stream, DeliveryRow.state.in_(OPEN)).limit(most)
            if (await session.scalar(select(func.count()).select_from(mine.subquery())) or 0) >= most:
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
            await session.execute(delete(DeliveryRow).where(DeliveryRow.job_id == job_id, DeliveryRow.state == DeliveryState.WAITING))

    # Its end

    async def waiting(self, now: int, most: int) -> list[Delivery]:
        """Deliveries whose job's end is to be looked for."""
        chosen = select(*_COLUMNS).where(DeliveryRow.state == DeliveryState.WAITING, DeliveryRow.next_at <= now)
        async with self._database.reading() as session:
            rows = await session.execute(chosen.order_by(DeliveryRow.next_at).limit(most))
            return [_delivery(row) for row in rows]

    async def look_later(self, next_at: dict[str, int]) -> None:
        """When the ends of these jobs, by id, are looked for again."""
        if not next_at:
            return
        mine = DeliveryRow.job_id.in_(list(next_at)), DeliveryRow.state == DeliveryState.WAITING
        async with self._database.writing() as session:
            await session.execute(update(DeliveryRow).where(*mine).values(next_at=case(next_at, value=DeliveryRow.job_id)))

    async def finish(self, job_id: str, body: bytes, now: int, lease: int = 0) -> bool:
        """The job ended, and ``body`` tells how: due now, and ours until ``lease``. False when that was known."""
        mine = DeliveryRow.job_id == job_id, DeliveryRow.state == DeliveryState.WAITING
        values = {"state": DeliveryState.DUE, "body": body, "next_at": now, "finished": now, "lease": lease}
        async with self._database.writing() as session:
            return await _changed(session, update(DeliveryRow).where(*mine).values(**values))

    # Its way out

    async def has_due(self, now: int) -> bool:
        """Whether `claim` might give something."""
        async with self._database.reading() as session:
            return bool(await session.scalar(select(exists().where(*_due(now)))))

    async def claim(self, now: int, lease: int, *, most: int, each: int, busy: Sequence[str]) -> list[Delivery]:
        """At most ``most`` deliveries that are due, at most ``each`` of a stream and none of ``busy`` ones, ours until ``lease``."""
        place = func.row_number().over(partition_by=DeliveryRow.stream, order_by=(DeliveryRow.next_at, DeliveryRow.job_id))
        ranked = select(DeliveryRow.job_id, DeliveryRow.next_at, place.label("place"))
        ranked = ranked.where(*_due(now), DeliveryRow.stream.not_in(list(busy)) if busy else True)  # type: ignore[arg-type]
        lines = ranked.subquery()
        chosen = select(lines.c.job_id).where(lines.c.place <= each).order_by(lines.c.next_at).limit(most)
        # Asked again of each row: another process may have claimed it between the choice and the change.
        claimed = update(DeliveryRow).where(DeliveryRow.job_id.in_(chosen), *_due(now)).values(lease=lease)
        async with self._database.writing() as session:
            rows = await session.execute(claimed.returning(*_COLUMNS))
            return [_delivery(row) for row in rows]

    async def release(self, claimed: Sequence[Delivery]) -> None:
        """Give deliveries back untried."""
        if claimed:
            async with self._database.writing() as session:
                await session.execute(
                    update(DeliveryRow)
                    .where(DeliveryRow.job_id.in_([one.job_id for one in claimed]), DeliveryRow.lease.in_([one.lease for one in claimed]))
                    .values(lease=0)
                )

    async def settle(self, claimed: Delivery, state: DeliveryState, result: Result, next_at: int) -> bool:
        """How a try went. ``state``: due again at ``next_at``, or done, to be forgotten then. False when the lease had ended."""
        failed = 0 if result.delivered else 1
        values: dict[str, Any] = {"state": state, "next_at": next_at, "status": result.status, "error": result.error, "lease": 0}
        if state is not DeliveryState.DUE:
            values |= _CLOSED
        async with self._database.writing() as session:
            return await _changed(session, _own(claimed).values(**values, attempts=DeliveryRow.attempts + failed))

    async def hurry(self, delivered: Delivery, now: int) -> None:
        """The receiver is back: what waits to be tried again there is due now."""
        same = DeliveryRow.endpoint == endpoint_of(delivered.stream, delivered.url)
        async with self._database.writing() as session:
            waits = (DeliveryRow.state == DeliveryState.DUE, DeliveryRow.next_at > now, DeliveryRow.lease <= now)
            await session.execute(update(DeliveryRow).where(same, *waits).values(next_at=now))

    async def disable(self, claimed: Delivery, now: int, forget_at: int) -> None:
        """The receiver wants nothing any more: none of the stream's deliveries to it are tried again."""
        endpoint = endpoint_of(claimed.stream, claimed.url)
        values = {"state": DeliveryState.DISABLED, "next_at": forget_at, **_CLOSED}
        async with self._database.writing() as session:
            if not await _changed(session, _own(claimed).values(status=410)):
                return  # it is somebody else's, or its stream is gone
            await session.execute(update(DeliveryRow).where(DeliveryRow.endpoint == endpoint, DeliveryRow.state.in_(OPEN)).values(**values))
            await session.merge(DisabledRow(endpoint=endpoint, stream=claimed.stream, url=claimed.url, since=now))

    async def forget(self, now: int) -> None:
        """Drop records of what is done and whose time is over."""
        done = select(DeliveryRow.job_id).where(DeliveryRow.state.not_in(OPEN), DeliveryRow.next_at <= now).limit(_FORGOTTEN_AT_A_TIME)
        more = True
        while more:
            async with self._database.writing() as session:
                result = await session.execute(delete(DeliveryRow).where(DeliveryRow.job_id.in_(done)))
            more = isinstance(result, CursorResult) and result.rowcount == _FORGOTTEN_AT_A_TIME

    # What the stream's owner sees and does

    async def latest(self, stream: str, most: int) -> list[Listed]:
        """The latest deliveries of a stream, those with something left to do first."""
        opened = case((DeliveryRow.state.in_(OPEN), 0), else_=1)
        columns = (DeliveryRow.url, DeliveryRow.job_url, DeliveryRow.state, DeliveryRow.attempts, DeliveryRow.next_at)
        chosen = select(*columns, DeliveryRow.status, DeliveryRow.error).where(DeliveryRow.stream == stream)
        async with self._database.reading() as session:
            rows = await session.execute(chosen.order_by(opened, DeliveryRow.created.desc()).limit(most))
            return [Listed(row[0], row[1], DeliveryState(row[2]), *row[3:]) for row in rows]

    async def disabled(self, stream: str, most: int) -> list[Disabled]:
        chosen = select(DisabledRow.url, DisabledRow.since).where(DisabledRow.stream == stream).order_by(DisabledRow.since.desc())
        async with self._database.reading() as session:
            return [Disabled(*row) for row in await session.execute(chosen.limit(most))]

    async def enable(self, stream: str, url: str) -> bool:
        """Send to this receiver again. False when it was not disabled."""
        async with self._database.writing() as session:
            return await _changed(session, delete(DisabledRow).where(DisabledRow.endpoint == endpoint_of(stream, url)))

    async def generation(self, stream: str) -> tuple[int, int]:
        """How often the stream's signing secret was changed, and when last."""
        async with self._database.reading() as session:
            row = await session.get(SecretRow, stream)
        return (0, 0) if row is None else (row.generation, row.changed)

    async def next_generation(self, stream: str, now: int) -> int:
        """Change the stream's signing secret; the number of the new one."""
        async with self._database.writing() as session:
            row = await session.get(SecretRow, stream, with_for_update=True)
            if row is None:
                row = SecretRow(stream=stream, generation=0, changed=now)
                session.add(row)
            row.generation, row.changed = row.generation + 1, now
            return row.generation


def _due(now: int) -> tuple[ColumnElement[bool], ...]:
    return DeliveryRow.state == DeliveryState.DUE, DeliveryRow.next_at <= now, DeliveryRow.lease <= now


def _delivery(row: Any) -> Delivery:
    return Delivery(*row)


def _own(claimed: Delivery) -> Any:
    return update(DeliveryRow).where(DeliveryRow.job_id == claimed.job_id, DeliveryRow.lease == claimed.lease)


async def _changed(session: AsyncSession, statement: Any) -> bool:
    result = await session.execute(statement)
    return isinstance(result, CursorResult) and result.rowcount > 0
