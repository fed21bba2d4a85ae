"""Visits on every database: each kept once, and sums that are those of the visits."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import text

from accounts.store import Accounts, open_accounts
from analytics.queries import Audience
from analytics.store import Visits
from analytics.totals import Totals
from database.engine import Database
from sensorium.migrate import migrate
from shared.errors import StoreAway
from shared.visits import Visit
from tests.contract.test_accounts import PASSWORD, settings_for

HOUR = 3_600_000
START = 1_700_000_000_000 // HOUR * HOUR
SENIOR = 50.0


class House:
    """A database with two streams, who writes to it and who asks."""

    def __init__(self, url: str, opened: Database, accounts: Accounts, streams: list[str]) -> None:
        self.url, self.database, self.accounts, self.streams = url, opened, accounts, streams
        self.visits, self.audience = Visits(opened, SENIOR), Audience(opened)

    async def values(self, query: str, **parameters: object) -> list[Any]:
        """The first column of what a query finds."""
        async with self.database.reading() as session:
            return list((await session.execute(text(query), parameters)).scalars())

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
            streams.append((await accounts.streams.add(name, "Door")).client_id)
        house = House(database, opened, accounts, streams)
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


async def test_what_was_switched_off_meanwhile_is_not_kept(house: House) -> None:
    before = visit()
    await house.visits.write([(house.streams[0], before)])
    (stream,) = await house.accounts.streams.of("ann@example.com")
    for off, hidden in ((["age"], {"age": None}), (["gender", "expression"], {"gender": None, "happiness": None})):
        await house.accounts.streams.set_off(stream, off)  # type: ignore[arg-type]
        late = visit()
        await house.visits.write([(house.streams[0], late), (house.streams[1], theirs := visit())])
        mine = await house.audience.visits(house.streams[0], 0, START + HOUR, offset=0, limit=10)
        assert replace(late, **hidden) in mine
        assert before in mine
        assert theirs in await house.audience.visits(house.streams[1], 0, START + HOUR, offset=0, limit=10)
    newer = replace(before, view_seconds=99.0)
    await house.visits.write([(house.streams[0], newer)])
    assert replace(newer, gender=None, happiness=None) in await house.audience.visits(house.streams[0], 0, START + HOUR, offset=0, limit=10)
    total = await house.total()
    assert (total.visits, total.interested, total.female, total.happy_count) == (3, 3, 1, 1)


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


async def test_an_id_is_its_first_stream_s(house: House) -> None:
    one = visit()
    told = [
        (house.streams[0], one),
        (house.streams[1], replace(one, view_seconds=99.0)),
        (house.streams[0], replace(one, view_seconds=11.0)),
    ]
    assert await house.visits.write(told) == 1
    assert ((await house.total(0)).dwell_ms, (await house.total(1)).visits) == (11_000, 0)


async def test_a_record_that_tells_nothing_new_writes_nothing(house: House) -> None:
    one = visit()
    await house.visits.write([(house.streams[0], one)])
    async with house.database.writing() as session:
        await session.execute(text("UPDATE visits SET revised = 7"))
    await house.visits.write([(house.streams[0], one)] * 2 + [(house.streams[0], replace(one, view_seconds=99.0, closed=False))])
    assert await house.values("SELECT revised FROM visits") == [7]
    before = time.time() * 1000
    await house.visits.write([(house.streams[0], replace(one, view_seconds=11.0))])
    assert (await house.values("SELECT revised FROM visits"))[0] >= int(before)


async def test_deleting_in_steps(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step may end within an hour, and so may what is deleted."""
    monkeypatch.setattr("analytics.store.DELETE_STEP", 3)
    at = [START / 1000 + 600 * number for number in range(20)]
    await house.visits.write([(stream, visit(started=one)) for stream in house.streams for one in at])
    assert await house.visits.delete(house.streams[0], START + 15 * 600_000) == 15
    assert await house.values("SELECT visits FROM visit_hours WHERE stream = :s ORDER BY hour", s=house.streams[0]) == [3, 2]
    assert await house.values("SELECT visits FROM visit_hours WHERE stream = :s ORDER BY hour", s=house.streams[1]) == [6, 6, 6, 2]
    assert await house.visits.delete(house.streams[0]) == 5
    assert await house.visits.delete(house.streams[0]) == 0
    assert (await house.total(1)).visits == 20


async def test_nothing_is_left_of_a_deleted_account(house: House) -> None:
    await house.visits.write([(stream, visit()) for stream in house.streams])
    await house.accounts.delete_account("ann@example.com")
    for table in ("visits", "visit_hours"):
        assert await house.values(f"SELECT stream FROM {table}") == [house.streams[1]]
    assert await house.visits.write([(house.streams[0], visit())]) == 1
    assert await house.visits.has_stream(house.streams[1])
    assert not await house.visits.has_stream(house.streams[0])


async def test_nothing_is_left_of_what_was_forgotten(house: House) -> None:
    await house.visits.write([(stream, visit()) for stream in house.streams])
    assert await house.visits.forget(START + 60_000) == 0
    assert await house.visits.forget(START + 60_001) == 2
    for table in ("visits", "visit_hours"):
        assert await house.values(f"SELECT stream FROM {table}") == []


async def test_all_recorders_take_the_seniors_of_the_last_that_started(house: House) -> None:
    assert await Visits(house.database, 40.0).prepare()
    assert not await house.visits.are_prepared()
    await house.visits.write([(house.streams[0], visit(age=45.0))])
    assert (await house.total()).senior_female == 1
    assert (await house.audience.totals(house.streams[0], [START, START + HOUR - 1]))[0].senior_female == 1


async def test_a_recorder_of_another_version_leaves_the_roll_ups_alone(house: House) -> None:
    async with house.database.writing() as session:
        await session.execute(text("UPDATE visit_roll_ups SET definition = 999"))
    for writing in (house.visits.write([(house.streams[0], visit())]), house.visits.delete(house.streams[0])):
        with pytest.raises(StoreAway, match="another version"):
            await writing
    assert await house.values("SELECT id FROM visits") == []


async def test_a_question_has_its_bounds(house: House) -> None:
    with pytest.raises(ValueError, match="at most 100"):
        await house.audience.totals(house.streams[0], list(range(102)))
    assert await house.audience.totals(house.streams[0], [0]) == []
    assert await house.audience.totals(house.streams[0], [5, 5, 5]) == [Totals(), Totals()]
    assert len(await house.audience.totals(house.streams[0], [START + n * 1_800_001 for n in range(101)])) == 100


async def test_visits_come_in_pages(house: House) -> None:
    told = [visit(started=START / 1000 + number // 2) for number in range(7)]
    await house.visits.write([(house.streams[0], one) for one in told])
    pages = [await house.audience.visits(house.streams[0], START + 1000, START + 3000, offset=offset, limit=3) for offset in (0, 3, 6)]
    inside = sorted((one for one in told if START / 1000 + 1 <= one.started < START / 1000 + 3), key=lambda one: (one.started, one.id))
    assert pages == [inside[:3], inside[3:], []]


async def test_two_recorders_in_one_hour(house: House) -> None:
    visits = [visit() for _ in range(40)]
    writers = [Visits(house.database, SENIOR), Visits(house.database, SENIOR)]
    await asyncio.gather(
        *(writers[index % 2].write([(house.streams[index % 2 if index < 8 else 0], one)]) for index, one in enumerate(visits))
    )
    assert (await house.total(0)).visits + (await house.total(1)).visits == 40
