"""Writing visits: each once, however often it is told, with the hours that it counts in rolled up anew in the same transaction."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import BigInteger, Insert, String, and_, column, delete, func, insert, or_, select, text, tuple_, values
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncSession

from accounts.tables import SWITCHES, StreamRow, off_of
from analytics.plans import sums_in_each
from analytics.tables import HOUR_MS, HourRow, RollUpRow, VisitRow
from analytics.totals import COLUMNS, DEFINITION, HAPPINESS_UNIT, stored_senior_age, sums
from database.engine import Database
from shared.errors import StoreAway
from shared.privacy import Analysis
from shared.visits import Visit

#: A visit of a stream, as it comes from the queue.
Told = tuple[str, Visit]
#: (stream, start of the hour in milliseconds).
Hour = tuple[str, int]
Item = TypeVar("Item")

#: Visits that are deleted in one transaction, so that recorders and readers do not wait for a year's clearing.
DELETE_STEP = 5000
_LOCK = 0x56495354  # any number that is ours
#: Statements have a limited number of parameters (SQLite: 32,766).
_ROWS = 1000
_KEPT = ("started", "view_ms", "stop_ms", "attention_ms", "age", "gender", "happiness", "direction", "closed", "revised")
_FOR_EVER = 2**62


class Visits:
    """The visits in the database, for those who write them. Every method may raise `shared.errors.StoreAway`."""

    def __init__(self, database: Database, senior_age: float) -> None:
        """``senior_age``: where seniors shall begin, in years, once `prepare` has run."""
        self._database = database
        self._senior_age = senior_age

    async def are_prepared(self) -> bool:
        """Whether the roll-ups were made as this program and its settings want them."""
        async with self._database.reading() as session:
            return await self._as_wanted(session)

    async def prepare(self) -> bool:
        """Make the roll-ups what the settings say. True if all had to be made anew, since they were made with others.

        That takes time: about a second for 200,000 visits.
        """
        async with self._database.writing() as session:
            await _lock_all(session)
            if await self._as_wanted(session):
                return False
            await session.execute(delete(RollUpRow))
            await session.execute(insert(RollUpRow).values(definition=DEFINITION, senior_age=self._senior_age))
            await session.execute(delete(HourRow))
            hour = (VisitRow.started - VisitRow.started % HOUR_MS).label("hour")
            rolled = select(VisitRow.stream, hour, *sums(stored_senior_age())).group_by(VisitRow.stream, hour)
            await session.execute(insert(HourRow).from_select(["stream", "hour", *COLUMNS], rolled))
            return True

    async def write(self, told: Sequence[Told]) -> int:
        """Keep these visits, in this order; returns how many were dropped, because their stream is gone or their id is another stream's.

        A visit that is there is replaced by a newer record of it and by nothing else. All or nothing.
        """
        async with self._database.writing() as session:
            await _lock_streams(session, {stream for stream, _ in told})
            await _refuse_other_definitions(session)
            off = await _existing_streams(session, {stream for stream, _ in told})
            told, streams = [(stream, _without(visit, off.get(stream, ()))) for stream, visit in told], set(off)
            before = await _places(session, list({visit.id for _, visit in told}))
            rows, dropped = _newest(told, streams, {visit: stream for visit, (stream, _) in before.items()})
            if rows:
                await session.execute(_upsert(session.get_bind().dialect.name), rows)
            hours = {(row["stream"], _hour(row["started"])) for row in rows}
            hours |= {(stream, _hour(started)) for stream, started in before.values() if stream in streams}
            await _roll_up(session, hours)
        return dropped

    async def has_stream(self, stream: str) -> bool:
        """Whether there is a stream with this client_id."""
        async with self._database.reading() as session:
            return bool(await session.scalar(select(func.count()).where(StreamRow.client_id == stream)))

    async def delete(self, stream: str, before_ms: int | None = None) -> int:
        """Delete a stream's visits, all or those that began before ``before_ms`` (since 1970); returns how many.

        In steps that are transactions of their own. Also the way to empty a stream before it is deleted itself, which is one transaction.
        """
        deleted, step = 0, DELETE_STEP
        while step >= DELETE_STEP:
            step = await self._delete_step(stream, _FOR_EVER if before_ms is None else before_ms)
            deleted += step
        return deleted

    async def forget(self, before_ms: int) -> int:
        """Delete every stream's visits that began before ``before_ms``; returns how many."""
        old = select(VisitRow.id).where(VisitRow.stream == StreamRow.client_id, VisitRow.started < before_ms)
        async with self._database.reading() as session:
            streams = list(await session.scalars(select(StreamRow.client_id).where(old.exists()).order_by(StreamRow.client_id)))
        deleted = 0
        for stream in streams:
            deleted += await self.delete(stream, before_ms)
        return deleted

    async def ping(self) -> None:
        """Raise `StoreAway` unless the database answers and is set up."""
        await self._database.ping()

    async def _as_wanted(self, session: AsyncSession) -> bool:
        made = await session.get(RollUpRow, DEFINITION)
        return made is not None and made.senior_age == self._senior_age

    async def _delete_step(self, stream: str, before_ms: int) -> int:
        """The oldest visits, up to some moment: the hours before that one are empty then, and only the last has to be added up."""
        mine = [VisitRow.stream == stream, VisitRow.started < before_ms]
        async with self._database.writing() as session:
            await _lock_streams(session, [stream])
            await _refuse_other_definitions(session)
            last = select(VisitRow.started).where(*mine).order_by(VisitRow.started).offset(DELETE_STEP - 1).limit(1)
            end = await session.scalar(last)
            end = before_ms if end is None else end + 1
            done: Any = await session.execute(delete(VisitRow).where(VisitRow.stream == stream, VisitRow.started < end))
            await session.execute(delete(HourRow).where(HourRow.stream == stream, HourRow.hour < _hour(end)))
            await _roll_up(session, {(stream, _hour(end))})
            deleted: int = done.rowcount
        return deleted


async def _roll_up(session: AsyncSession, hours: Iterable[Hour]) -> None:
    """Add the visits of these hours up anew. Counting on would be cheaper and could go wrong; an hour is few visits."""
    for chunk in _chunks(sorted(hours)):
        await session.execute(delete(HourRow).where(tuple_(HourRow.stream, HourRow.hour).in_(chunk)))
        touched = values(column("stream", String), column("hour", BigInteger), name="touched").data(chunk).cte("touched")
        inside = and_(VisitRow.stream == touched.c.stream, VisitRow.started >= touched.c.hour, VisitRow.started < touched.c.hour + HOUR_MS)
        keys = [touched.c.stream, touched.c.hour]
        rolled = await sums_in_each(session, touched, keys, VisitRow, inside, sums(stored_senior_age()))
        await session.execute(insert(HourRow).from_select(["stream", "hour", *COLUMNS], rolled))


def _newest(told: Sequence[Told], streams: set[str], owners: dict[str, str]) -> tuple[list[dict[str, Any]], int]:
    """The newest record of each visit, and how many were dropped. ``owners``: the streams of visits that are there, by id."""
    newest: dict[str, dict[str, Any]] = {}
    dropped = 0
    for stream, visit in told:
        if stream not in streams or owners.setdefault(visit.id, stream) != stream:
            dropped += 1
            continue
        row = _row(stream, visit)
        known = newest.get(visit.id)
        if known is None or (row["closed"], row["view_ms"]) > (known["closed"], known["view_ms"]):
            newest[visit.id] = row
    return list(newest.values()), dropped


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
        "revised": round(time.time() * 1000),
    }


def _hour(started: int) -> int:
    return started - started % HOUR_MS


def _chunks(items: Sequence[Item]) -> Iterator[Sequence[Item]]:
    return (items[start : start + _ROWS] for start in range(0, len(items), _ROWS))


@cache  # building it takes milliseconds
def _upsert(database: str) -> Insert:
    """A record that comes late or twice changes nothing: one that ended stays, and of two the one with more time in view."""
    dialect = postgresql if database == "postgresql" else sqlite
    table = VisitRow.__table__
    statement = dialect.insert(table)
    new, old = statement.excluded, table.c
    newer = or_(new.closed & ~old.closed, (new.closed == old.closed) & (new.view_ms > old.view_ms))
    upsert: Insert = statement.on_conflict_do_update(
        index_elements=["id"], set_={name: new[name] for name in _KEPT}, where=(new.stream == old.stream) & newer
    )
    return upsert


async def _existing_streams(session: AsyncSession, wanted: Iterable[str]) -> dict[str, tuple[Analysis, ...]]:
    """Those that are there, with what they have switched off by now."""
    # Shared with other recorders, but nobody deletes a stream while its visits are being written.
    found: dict[str, tuple[Analysis, ...]] = {}
    for chunk in _chunks(sorted(wanted)):
        chosen = select(StreamRow.client_id, *SWITCHES).where(StreamRow.client_id.in_(chunk)).with_for_update(read=True, key_share=True)
        found |= {row.client_id: off_of(row) for row in await session.execute(chosen)}
    return found


def _without(visit: Visit, off: tuple[Analysis, ...]) -> Visit:
    """What was still on its way when something was switched off is not kept either."""
    hidden: dict[str, Any] = {
        field: None for field, analysis in (("age", "age"), ("gender", "gender"), ("happiness", "expression")) if analysis in off
    }
    return replace(visit, **hidden) if hidden else visit


async def _places(session: AsyncSession, ids: Sequence[str]) -> dict[str, tuple[str, int]]:
    """(stream, started) of those visits that are there."""
    found: dict[str, tuple[str, int]] = {}
    for chunk in _chunks(ids):
        chosen = select(VisitRow.id, VisitRow.stream, VisitRow.started).where(VisitRow.id.in_(chunk))
        found |= {row.id: (row.stream, row.started) for row in await session.execute(chosen)}
    return found


async def _refuse_other_definitions(session: AsyncSession) -> None:
    """Raise `StoreAway` where a program with other definitions has rolled up: what this one adds up would not fit in."""
    made = set(await session.scalars(select(RollUpRow.definition)))
    if made - {DEFINITION}:
        raise StoreAway("The roll-ups are of another version of this program; restart this one when it is up to date")


async def _lock_streams(session: AsyncSession, streams: Iterable[str]) -> None:
    """One writer of a stream's hours at a time; SQLite has one writer at all. In order, so that two never wait for each other.

    Of the stream and not of each hour: which hour a visit leaves is known only once it cannot move any more.
    """
    if session.get_bind().dialect.name != "postgresql":
        return
    keys = sorted({zlib.crc32(stream.encode()) - 2**31 for stream in streams})
    await session.execute(select(func.pg_advisory_xact_lock_shared(_LOCK)))
    one_by_one = text("SELECT pg_advisory_xact_lock(:kind, key) FROM unnest(CAST(:keys AS integer[])) AS key")
    await session.execute(one_by_one, {"kind": _LOCK, "keys": keys})


async def _lock_all(session: AsyncSession) -> None:
    """Nobody writes visits meanwhile."""
    if session.get_bind().dialect.name == "postgresql":
        await session.execute(select(func.pg_advisory_xact_lock(_LOCK)))
