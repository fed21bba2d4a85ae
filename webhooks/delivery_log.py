"""What the owner of a stream sees of its webhooks: deliveries, disabled receivers, the signing secret."""

from __future__ import annotations

from typing import Any

from sqlalchemy import case, delete, select

from database.engine import Database
from webhooks.model import OPEN, DeliveryState, Disabled, Listed, endpoint_of
from webhooks.rows import changed
from webhooks.tables import DeliveryRow, DisabledRow, SecretRow


class DeliveryLog:
    """What became of a stream's deliveries. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def latest(self, stream: str, most: int) -> list[Listed]:
        """The latest deliveries of a stream, those with something left to do first."""
        opened = case((DeliveryRow.state.in_(OPEN), 0), else_=1)
        what = DeliveryRow.url, DeliveryRow.job_url, DeliveryRow.state
        how = DeliveryRow.attempts, DeliveryRow.next_at, DeliveryRow.status, DeliveryRow.error
        chosen = select(*what, *how).where(DeliveryRow.stream == stream)
        async with self._database.reading() as session:
            rows: Any = await session.execute(chosen.order_by(opened, DeliveryRow.created.desc()).limit(most))
            return [Listed(row[0], row[1], DeliveryState(row[2]), *row[3:]) for row in rows]

    async def disabled(self, stream: str, most: int) -> list[Disabled]:
        chosen = select(DisabledRow.url, DisabledRow.since).where(DisabledRow.stream == stream)
        chosen = chosen.order_by(DisabledRow.since.desc())
        async with self._database.reading() as session:
            return [Disabled(*row) for row in await session.execute(chosen.limit(most))]

    async def enable(self, stream: str, url: str) -> bool:
        """Send to this receiver again. False when it was not disabled."""
        async with self._database.writing() as session:
            same = DisabledRow.endpoint == endpoint_of(stream, url)
            return await changed(session, delete(DisabledRow).where(same))


class SecretGenerations:
    """How often streams changed their signing secrets. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, stream: str) -> tuple[int, int]:
        """How often the stream's signing secret was changed, and when last."""
        async with self._database.reading() as session:
            row = await session.get(SecretRow, stream)
        return (0, 0) if row is None else (row.generation, row.changed)

    async def next(self, stream: str, now: int) -> int:
        """Change the stream's signing secret; the number of the new one."""
        async with self._database.writing() as session:
            row = await session.get(SecretRow, stream, with_for_update=True)
            if row is None:
                row = SecretRow(stream=stream, generation=0, changed=now)
                session.add(row)
            row.generation, row.changed = row.generation + 1, now
            return row.generation
