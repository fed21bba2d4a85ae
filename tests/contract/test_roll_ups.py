"""Whatever is told, in whatever order and by however many recorders: the hours are those of the visits, and add up."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from analytics.store import Visits
from analytics.tables import HOUR_MS
from analytics.totals import COLUMNS, Totals
from database.engine import Database
from shared.visits import Visit
from tests.contract.test_analytics import SENIOR, START, House, house

__all__ = ["house"]

DAY = 24 * HOUR_MS
#: So few that they are told again, moved and claimed by both streams.
IDS = [str(uuid.UUID(int=number)) for number in range(12)]


@dataclass(frozen=True)
class Tell:
    """Visits of the streams, written by recorders at once, each its own."""

    batches: Sequence[Sequence[tuple[int, Visit]]]


@dataclass(frozen=True)
class Delete:
    """What began before ``before``, of a stream or (None) of all, is deleted."""

    stream: int | None
    before: int


#: The borders of hours and of definitions, and what is between them.
moments = st.one_of(
    st.integers(0, 3 * DAY), st.sampled_from([h * HOUR_MS + d for h in (0, 1, 23, 24, 71) for d in (-1, 0, 1) if h or d > 0])
)
visits = st.builds(
    Visit,
    id=st.sampled_from(IDS),
    started=moments.map(lambda ms: (START + ms) / 1000),
    view_seconds=st.sampled_from([0.0, 0.999, 1.0, 3.25, 20.0]),
    stop_seconds=st.sampled_from([0.0, 2.999, 3.0, 8.5]),
    attention_seconds=st.sampled_from([0.0, 1.0, 1.001, 6.0]),
    age=st.sampled_from([None, 12.5, 49.9, 50.0, 80.0]),
    gender=st.sampled_from([None, "female", "male"]),
    happiness=st.sampled_from([None, 0.0, 0.3333, 1.0]),
    closed=st.booleans(),
)
batches = st.lists(st.tuples(st.integers(0, 1), visits), min_size=1, max_size=8)
tellings = st.builds(Tell, st.lists(batches, min_size=1, max_size=3))
deletions = st.builds(Delete, st.sampled_from([0, 1, None]), moments.map(lambda ms: START + ms))
stories = st.lists(st.one_of(tellings, tellings, deletions), min_size=1, max_size=6)
borders = st.lists(moments.map(lambda ms: START + ms), min_size=2, max_size=10).map(sorted)

quietly = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def newer(one: Visit, than: Visit) -> bool:
    return (one.closed, one.view_seconds) > (than.closed, than.view_seconds)


class Told:
    """What should be there: for each id its stream and its newest record. Only for recorders one after the other."""

    def __init__(self) -> None:
        self.there: dict[str, tuple[int, Visit]] = {}

    def tell(self, batch: Sequence[tuple[int, Visit]]) -> None:
        for stream, one in batch:
            owner, known = self.there.get(one.id, (stream, None))
            if owner == stream and (known is None or newer(one, known)):
                self.there[one.id] = (stream, one)

    def delete(self, deletion: Delete) -> None:
        for name, (stream, one) in list(self.there.items()):
            if deletion.stream in (None, stream) and round(one.started * 1000) < deletion.before:
                del self.there[name]

    def of(self, stream: int) -> list[Visit]:
        mine = [one for owner, one in self.there.values() if owner == stream]
        return sorted(mine, key=lambda one: (round(one.started * 1000), one.id))


def recomputed(found: Sequence[Visit], begin: int, end: int) -> Totals:
    """The definition once more, in Python."""
    total = Totals()
    for one in found:
        if not begin <= round(one.started * 1000) < end:
            continue
        passing = one.view_seconds >= 1
        watching = passing and one.attention_seconds > 1
        interested = one.stop_seconds >= 3 and one.attention_seconds > 1
        female, male = interested and one.gender == "female", interested and one.gender == "male"
        young, senior = one.age is not None and one.age < SENIOR, one.age is not None and one.age >= SENIOR
        total = total + Totals(
            visits=1,
            passing_by=passing,
            watchers=watching,
            dwell_ms=passing * round(one.view_seconds * 1000),
            watched_ms=watching * round(one.attention_seconds * 1000),
            interested=interested,
            stop_ms=interested * round(one.stop_seconds * 1000),
            attention_ms=interested * round(one.attention_seconds * 1000),
            female=female,
            male=male,
            young_female=female and young,
            young_male=male and young,
            senior_female=female and senior,
            senior_male=male and senior,
            happiness=interested * round((one.happiness or 0) * 10_000),
            happy_count=interested and one.happiness is not None,
        )
    return total


async def rolled_hours(house: House, stream: str) -> dict[int, Totals]:
    """The roll-ups as they are stored."""
    query = text(f"SELECT hour, {', '.join(COLUMNS)} FROM visit_hours WHERE stream = :stream")
    async with house.database.reading() as session:
        return {row[0]: Totals(*row[1:]) for row in await session.execute(query, {"stream": stream})}


async def check_sums(house: House, stream: int, edges: Sequence[int]) -> list[Visit]:
    """Every sum of a stream is that of its visits, which are returned."""
    name = house.streams[stream]
    there = await house.audience.visits(name, START - DAY, START + 4 * DAY, offset=0, limit=10_000)
    by_hour = itertools.groupby(there, key=lambda one: round(one.started * 1000) // HOUR_MS * HOUR_MS)
    assert await rolled_hours(house, name) == {hour: recomputed(list(group), hour, hour + HOUR_MS) for hour, group in by_hour}
    assert await house.audience.totals(name, edges) == [recomputed(there, a, b) for a, b in itertools.pairwise(edges)]
    hours = await house.audience.totals(name, [START + n * HOUR_MS for n in range(73)])
    days = await house.audience.totals(name, [START + n * DAY for n in range(4)])
    assert days == [sum(hours[n : n + 24], Totals()) for n in (0, 24, 48)]
    (whole,) = await house.audience.totals(name, [START, START + 3 * DAY])
    assert whole == sum(days, Totals())
    assert await house.audience.count(name, START, START + 3 * DAY) == whole.visits
    return there


async def begin_anew(house: House) -> None:
    for stream in house.streams:
        await house.visits.delete(stream)


async def delete(house: House, deletion: Delete) -> None:
    if deletion.stream is None:
        await house.visits.forget(deletion.before)
    else:
        await house.visits.delete(house.streams[deletion.stream], deletion.before)


async def tell(house: House, writer: Visits, batch: Sequence[tuple[int, Visit]]) -> None:
    await writer.write([(house.streams[stream], one) for stream, one in batch])


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
@settings(max_examples=60, **quietly)
@given(story=stories, edges=borders)
async def test_hours_are_those_of_their_visits(house: House, story: list[Tell | Delete], edges: list[int]) -> None:
    await one_after_the_other(house, story, edges)


@pytest.mark.parametrize("database", ["postgresql"], indirect=True)
@settings(max_examples=15, **quietly)
@given(story=stories, edges=borders)
async def test_hours_are_those_of_their_visits_on_a_server(house: House, story: list[Tell | Delete], edges: list[int]) -> None:
    await one_after_the_other(house, story, edges)


async def one_after_the_other(house: House, story: Sequence[Tell | Delete], edges: Sequence[int]) -> None:
    await begin_anew(house)
    told = Told()
    for step in story:
        if isinstance(step, Delete):
            await delete(house, step)
            told.delete(step)
            continue
        for batch in step.batches:
            await tell(house, house.visits, batch)
            told.tell(batch)
    for stream in (0, 1):
        assert await check_sums(house, stream, edges) == [replace(one, direction="unknown") for one in told.of(stream)]


@settings(max_examples=15, **quietly)
@given(story=stories, edges=borders)
async def test_many_recorders_at_once(house: House, story: list[Tell | Delete], edges: list[int]) -> None:
    """Which record comes first is chance then, but the newest of those who may write is there, and the sums are right."""
    await begin_anew(house)
    others = [Database(house.url, 10) for _ in range(2)]
    writers = [house.visits, *(Visits(other, SENIOR) for other in others)]
    try:
        for step in story:
            if isinstance(step, Delete):
                await asyncio.gather(delete(house, step), *(tell(house, writer, [(0, LATE)]) for writer in writers))
            else:
                await asyncio.gather(*(tell(house, writer, batch) for writer, batch in zip(writers, step.batches, strict=False)))
        for stream in (0, 1):
            await check_sums(house, stream, edges)
    finally:
        for other in others:
            await other.close()


#: After everything that is deleted.
LATE = Visit(str(uuid.UUID(int=99)), (START + 4 * DAY - 1) / 1000, 5.0)


async def test_rolling_up_anew_while_others_write(house: House) -> None:
    other = Database(house.url, 10)
    told = [[(house.streams[n % 2], Visit(str(uuid.uuid4()), START / 1000 + 60 * n, 5.0, closed=True))] for n in range(40)]
    ages = [Visits(other, 30.0 + n).prepare() for n in range(5)]
    await asyncio.gather(*(house.visits.write(batch) for batch in told), *ages)
    await other.close()
    await house.visits.prepare()
    assert sum([len(await check_sums(house, stream, [START, START + HOUR_MS])) for stream in (0, 1)]) == 40
