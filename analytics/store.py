"""Writing visits: each once, however often it is told, with the hours that it counts in rolled up anew in the same transaction."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Insert, delete, func, insert, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from accounts.tables import StreamRow
from analytics.tables import HOUR_MS, HourRow, RollUpRow, VisitRow
from analytics.totals import COLUMNS, DEFINITION, HAPPINESS_UNIT, sums
from database.engine import Database
from shared.visits import Visit

#: A visit of a stream, as it comes from the queue.
Told = tuple[str, Visit]
#: (stream, start of the hour in milliseconds).
Hour = tuple[str, int]

#: Visits that are deleted in one transaction, so that recorders and readers do not wait for a year's clearing.
DELETE_STEP = 5000
_LOCK = 0x5649534954  # any number that is ours
#: Statements have a limited number of parameters (SQLite: 32,766).
_ROWS = 1000
_KEPT = ("started", "view_ms", "stop_ms", "attention_ms", "age", "gender", "happiness", "direction", "closed")


class Visits:
    """The visits in the database, for those who write them. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database, senior_age: float) -> None:
        """``senior_age``: where seniors begin, in years."""
        self._database = database
        self._senior_age = senior_age

    async def prepare(self) -> bool:
        """Make the roll-ups what the settings say. True if all had to be made anew, since they were made with others."""
        async with self._database.writing() as session:
            await _lock_all(session)
            made = await session.get(RollUpRow, DEFINITION)
            if made is not None and made.senior_age == self._senior_age:
                return False
            await session.execute(delete(RollUpRow))
            session.add(RollUpRow(definition=DEFINITION, senior_age=self._senior_age))
            await session.execute(delete(HourRow))
            await session.execute(insert(HourRow).from_select(["stream", "hour", *COLUMNS], _rolled(self._senior_age)))
            return True

    async def write(self, told: Sequence[Told]) -> int:
        """Keep these visits, in this order; returns how many were dropped, because their stream is gone or is another one's.

        A visit that is there is replaced by one that is not older. All or nothing.
        """
        newest: dict[str, dict[str, Any]] = {}
        for stream, visit in told:
            row = _row(stream, visit)
            known = newest.get(visit.id)
            if known is None or (row["closed"], row["view_ms"]) >= (known["closed"], known["view_ms"]):
                newest[visit.id] = row
        async with self._database.writing() as session:
            streams = await _existing_streams(session, {row["stream"] for row in newest.values()})
            rows = [row for row in newest.values() if row["stream"] in streams]
            await _lock_streams(session, streams)
            before = await _places(session, [row["id"] for row in rows])
            rows = [row for row in rows if before.get(row["id"], (row["stream"], 0))[0] == row["stream"]]
            for start in range(0, len(rows), _ROWS):
                await session.execute(_upsert(session, rows[start : start + _ROWS]))
            hours = {(row["stream"], _hour(row["started"])) for row in rows}
            hours |= {(stream, _hour(started)) for stream, started in before.values() if stream in streams}
            await self._roll_up(session, hours)
        return len(newest) - len(rows)

    async def delete(self, stream: str, before_ms: int | None = None) -> int:
        """Delete a stream's visits, all or those that began before ``before_ms`` (since 1970); returns how many."""
        deleted = 0
        while step := await self._delete_step(VisitRow.stream == stream, before_ms):
            deleted += step
        return deleted

    async def forget(self, before_ms: int) -> int:
        """Delete every stream's visits that began before ``before_ms``; returns how many."""
        deleted = 0
        async with self._database.reading() as session:
            streams = list(await session.scalars(select(StreamRow.client_id).order_by(StreamRow.client_id)))
        for stream in streams:
            deleted += await self.delete(stream, before_ms)
        return deleted

    async def ping(self) -> None:
        """Raise `StoreAway` unless the database answers and is set up."""
        await self._database.ping()

    async def _delete_step(self, mine: Any, before_ms: int | None) -> int:
        chosen = select(VisitRow.id, VisitRow.stream, VisitRow.started).where(mine)
        if before_ms is not None:
            chosen = chosen.where(VisitRow.started < before_ms)
        async with self._database.writing() as session:
            found = (await session.execute(chosen.order_by(VisitRow.started).limit(DELETE_STEP))).all()
            await _lock_streams(session, {row.stream for row in found})
            for start in range(0, len(found), _ROWS):
                await session.execute(delete(VisitRow).where(VisitRow.id.in_([row.id for row in found[start : start + _ROWS]])))
            await self._roll_up(session, {(row.stream, _hour(row.started)) for row in found})
        return len(found)

    async def _roll_up(self, session: AsyncSession, hours: Iterable[Hour]) -> None:
        """Add the visits of these hours up anew. Counting on would be cheaper and could go wrong; an hour is few visits."""
        for stream, hour in sorted(hours):
            mine = (VisitRow.stream == stream, VisitRow.started >= hour, VisitRow.started < hour + HOUR_MS)
            await session.execute(delete(HourRow).where(HourRow.stream == stream, HourRow.hour == hour))
            rolled = _rolled(self._senior_age).where(*mine)
            await session.execute(insert(HourRow).from_select(["stream", "hour", *COLUMNS], rolled))


def _rolled(senior_age: float) -> Any:
    hour = (VisitRow.started - VisitRow.started % HOUR_MS).label("hour")
    return select(VisitRow.stream, hour, *sums(senior_age)).group_by(VisitRow.stream, hour)


def _row(stream: str, visit: Visit) -> dict[str, Any]:
    return {
        "id": visit.id,
        "stream": stream,
        "started": round(visit.started * 1000),
        "view_ms": round(visit.view_seconds * 1000),
        "stop_ms": round(visit.stop_seconds * 1000),
        "attention_ms": round(visit.attention_seconds * 1000),
        "age": visit.age,
        "gender": visit.gender,
        "happiness": None if visit.happiness is None else round(visit.happiness * HAPPINESS_UNIT),
        "direction": visit.direction,
        "closed": visit.closed,
    }


def _hour(started: int) -> int:
    return started - started % HOUR_MS


def _upsert(session: AsyncSession, rows: list[dict[str, Any]]) -> Insert:
    """A record that comes late or twice changes nothing: one that ended stays, and of two the one with more time in view."""
    dialect = postgresql if session.get_bind().dialect.name == "postgresql" else sqlite
    statement = dialect.insert(VisitRow).values(rows)
    new, old = statement.excluded, VisitRow
    newer = or_(new.closed & ~old.closed, (new.closed == old.closed) & (new.view_ms >= old.view_ms))
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=["id"], set_={name: new[name] for name in _KEPT}, where=(new.stream == old.stream) & newer
    )
    return upsert


async def _existing_streams(session: AsyncSession, wanted: Iterable[str]) -> set[str]:
    # Shared with other recorders, but nobody deletes a stream while its visits are being written.
    chosen = select(StreamRow.client_id).where(StreamRow.client_id.in_(sorted(wanted))).with_for_update(read=True, key_share=True)
    return set(await session.scalars(chosen))


async def _places(session: AsyncSession, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """(stream, started) of those visits that are there."""
    found: dict[str, tuple[str, int]] = {}
    for start in range(0, len(ids), _ROWS):
        chosen = select(VisitRow.id, VisitRow.stream, VisitRow.started).where(VisitRow.id.in_(ids[start : start + _ROWS]))
        found |= {row.id: (row.stream, row.started) for row in await session.execute(chosen)}
    return found


async def _lock_streams(session: AsyncSession, streams: Iterable[str]) -> None:
    """One writer of a stream's hours at a time; SQLite has one writer at all. In order, so that two never wait for each other."""
    if session.get_bind().dialect.name != "postgresql":
        return
    await session.execute(select(func.pg_advisory_xact_lock_shared(_LOCK)))
    for key in sorted({zlib.crc32(stream.encode()) for stream in streams}):
        await session.execute(text("SELECT pg_advisory_xact_lock(:kind, :key)"), {"kind": _LOCK & 0x7FFFFFFF, "key": key - 2**31})


async def _lock_all(session: AsyncSession) -> None:
    """Nobody writes visits meanwhile."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
