"""Visits on every database: each kept once, and sums that are those of the visits."""

from __future__ import annotations

import asyncio
import itertools
import random
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from accounts.store import Accounts, open_accounts
from analytics.queries import Audience
from analytics.store import Visits
from analytics.totals import Totals
from database.engine import Database
from database.migrate import migrate
from shared.visits import Visit
from tests.contract.test_accounts import PASSWORD, database, settings_for

__all__ = ["database"]

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
SENIOR = 50.0


class House:
    """A database with two streams, who writes to it and who asks."""

    def __init__(self, opened: Database, accounts: Accounts, streams: list[str]) -> None:
        self.database, self.accounts, self.streams = opened, accounts, streams
        self.visits, self.audience = Visits(opened, SENIOR), Audience(opened)

    async def total(self, stream: int = 0) -> Totals:
        """Of everything that there is."""
        return (await self.audience.totals(self.streams[stream], [0, START + 10_000 * HOUR], SENIOR))[0]


@pytest.fixture
async def house(database: str) -> AsyncIterator[House]:
    await migrate(database)
    opened = Database(database, 10)
    async with open_accounts(settings_for(database)) as accounts:
        streams = []
        for name in ("ann@example.com", "ben@example.com"):
            await accounts.create_account(name, PASSWORD)
            streams.append((await accounts.add_stream(name, "Door")).client_id)
        house = House(opened, accounts, streams)
        assert await house.visits.prepare()  # once, since nothing was rolled up yet
        yield house
    await opened.close()


def visit(**changed: object) -> Visit:
    given = Visit(str(uuid.uuid4()), START / 1000 + 60, 10.0, 4.0, 2.0, 30.0, "female", 0.5, "left", closed=True)
    return replace(given, **changed)  # type: ignore[arg-type]


async def test_a_visit_that_is_told_twice_counts_once(house: House) -> None:
    one = visit()
    for told in ([one, one], [one]):
        assert await house.visits.write([(house.streams[0], each) for each in told]) == 0
    total = await house.total()
    assert (total.visits, total.interested, total.stop_ms, total.happiness) == (1, 1, 4000, 5000)
    assert await house.audience.visits(house.streams[0], 0, START + HOUR, offset=0, limit=10) == [one]


async def test_a_provisional_record_gives_way_and_never_comes_back(house: House) -> None:
    early = visit(view_seconds=60.0, closed=False)
    late, closed = replace(early, view_seconds=120.0), replace(early, view_seconds=125.0, closed=True)
    for told in (early, late, early, closed, late, replace(closed, view_seconds=99.0)):
        await house.visits.write([(house.streams[0], told)])
    assert await house.audience.visits(house.streams[0], 0, START + HOUR, offset=0, limit=10) == [closed]
    assert (await house.total()).dwell_ms == 125_000


async def test_nobody_writes_to_a_stream_that_is_not_there_or_not_theirs(house: House) -> None:
    mine = visit()
    await house.visits.write([(house.streams[0], mine)])
    foreign = replace(mine, view_seconds=99.0)
    assert await house.visits.write([(house.streams[1], foreign), ("nobody", visit()), (house.streams[1], visit())]) == 2
    assert (await house.total(0)).dwell_ms == 10_000
    assert (await house.total(1)).visits == 1


@pytest.mark.parametrize(
    ("changed", "passing", "interested"),
    [
        ({"view_seconds": 0.999}, 0, 1),
        ({"view_seconds": 1.0}, 1, 1),
        ({"stop_seconds": 2.999}, 1, 0),
        ({"stop_seconds": 3.0}, 1, 1),
        ({"attention_seconds": 1.0}, 1, 0),
        ({"attention_seconds": 1.001}, 1, 1),
    ],
)
async def test_the_thresholds_are_those_of_the_definition(house: House, changed: dict[str, float], passing: int, interested: int) -> None:
    await house.visits.write([(house.streams[0], visit(**changed))])
    total = await house.total()
    assert (total.passing_by, total.interested) == (passing, interested)


async def test_categories_leave_out_whom_they_do_not_know(house: House) -> None:
    people = [visit(age=49.9), visit(age=50.0), visit(age=None), visit(gender=None), visit(gender="male", age=70.0), visit(happiness=None)]
    await house.visits.write([(house.streams[0], one) for one in people])
    total = await house.total()
    assert (total.young_female, total.senior_female, total.young_male, total.senior_male) == (2, 1, 0, 1)
    assert (total.female, total.male, total.interested, total.happy_count) == (4, 1, 6, 5)


async def test_other_seniors_make_the_roll_ups_anew(house: House) -> None:
    await house.visits.write([(house.streams[0], visit(age=45.0))])
    assert not await house.visits.prepare()
    assert await Visits(house.database, 40.0).prepare()
    assert await house.audience.senior_age() == 40.0
    assert (await house.total()).senior_female == 1


async def test_deleting_takes_the_sums_along(house: House) -> None:
    old, new = visit(), visit(started=START / 1000 + 7200)
    for stream in house.streams:
        await house.visits.write([(stream, replace(one, id=str(uuid.uuid4()))) for one in (old, new)])
    assert await house.visits.delete(house.streams[0]) == 2
    assert await house.visits.forget(START + HOUR) == 1
    assert (await house.total(0)).visits == 0
    assert (await house.total(1)).visits == 1
    await house.accounts.delete_account("ben@example.com")
    assert await house.total(1) == Totals()
    assert await house.audience.visits(house.streams[1], 0, START + 10_000 * HOUR, offset=0, limit=10) == []


async def test_two_recorders_in_one_hour(house: House) -> None:
    visits = [visit() for _ in range(40)]
    writers = [Visits(house.database, SENIOR), Visits(house.database, SENIOR)]
    await asyncio.gather(
        *(writers[index % 2].write([(house.streams[index % 2 if index < 8 else 0], one)]) for index, one in enumerate(visits))
    )
    assert (await house.total(0)).visits + (await house.total(1)).visits == 40


def random_visit(chance: random.Random) -> Visit:
    return Visit(
        str(uuid.UUID(int=chance.getrandbits(128))),
        START / 1000 + chance.randrange(0, 60 * 3600 * 1000) / 1000,
        chance.choice([0.5, 1.0, 3.25, 20.0]),
        chance.choice([0.0, 2.999, 3.0, 8.5]),
        chance.choice([0.0, 1.0, 1.5, 6.0]),
        chance.choice([None, 12.5, 49.9, 50.0, 80.0]),
        chance.choice([None, "female", "male"]),
        chance.choice([None, 0.0, 0.3333, 1.0]),
        "left",
        closed=chance.random() < 0.7,
    )


def recomputed(visits: list[Visit], begin: int, end: int) -> Totals:
    """The definition once more, in Python."""
    total = Totals()
    for one in visits:
        if not begin <= round(one.started * 1000) < end:
            continue
        passing = one.view_seconds >= 1
        watching = passing and one.attention_seconds > 1
        interested = one.stop_seconds >= 3 and one.attention_seconds > 1
        female, male = interested and one.gender == "female", interested and one.gender == "male"
        young, senior = one.age is not None and one.age < SENIOR, one.age is not None and one.age >= SENIOR
        total = total + Totals(
            1,
            passing,
            watching,
            passing * round(one.view_seconds * 1000),
            watching * round(one.attention_seconds * 1000),
            interested,
            interested * round(one.stop_seconds * 1000),
            interested * round(one.attention_seconds * 1000),
            female,
            male,
            female and young,
            male and young,
            female and senior,
            male and senior,
            interested * round((one.happiness or 0) * 10_000),
            interested and one.happiness is not None,
        )
    return total


@pytest.mark.parametrize("seed", range(6))
async def test_every_sum_is_that_of_its_visits(house: House, seed: int) -> None:
    """Random visits, told again, changed, moved to other hours and deleted; random spans, whole hours and not."""
    chance, stream = random.Random(seed), house.streams[0]
    known: list[Visit] = []
    for _ in range(6):
        fresh = [random_visit(chance) for _ in range(chance.randrange(1, 25))]
        again = [replace(random_visit(chance), id=one.id) for one in chance.sample(known, min(len(known), 5))]
        known += fresh
        await house.visits.write([(stream, one) for one in [*fresh, *again, *fresh[:3]]])
        if chance.random() < 0.3:
            await house.visits.delete(stream, START + chance.randrange(0, 20) * HOUR)
    there = await house.audience.visits(stream, 0, START + 10_000 * HOUR, offset=0, limit=10_000)
    edges = sorted(
        {START + chance.randrange(0, 60 * HOUR) for _ in range(12)} | {START, START + 5 * HOUR, START + 6 * HOUR, START + 60 * HOUR}
    )
    found = await house.audience.totals(stream, edges, SENIOR)
    assert found == [recomputed(there, a, b) for a, b in itertools.pairwise(edges)]
    hours = await house.audience.totals(stream, [START + n * HOUR for n in range(73)], SENIOR)
    days = await house.audience.totals(stream, [START + n * 24 * HOUR for n in range(4)], SENIOR)
    assert days == [sum(hours[n : n + 24], Totals()) for n in (0, 24, 48)]
    assert await house.audience.totals(stream, [START, START + 72 * HOUR], SENIOR) == [sum(days, Totals())]
    assert (await house.audience.count(stream, START, START + 72 * HOUR)) == len(there)
