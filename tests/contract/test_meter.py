"""Seconds of stream over every store: each counted once, and none over the allowance."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.usage import DAY_SECONDS, Allowance, DayOfUse, Known, Metered, day_of
from tests.contract.meters import NOON, Meters, memory_meters, redis_meters
from tests.contract.stores import remove

DOOR, WINDOW = Metered("ann", "door"), Metered("ann", "window")
TODAY = day_of(NOON)
THREE_A_MONTH = Allowance("small", 3, "month", "account", paid=False)
TWO_A_DAY = Allowance("large", 2, "day", "stream", paid=True)
UNLIMITED = Allowance("own", None, "day", "stream", paid=True)


@pytest.fixture(params=["memory", "redis"])
async def meters(request: pytest.FixtureRequest, namespace: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Meters]:
    if request.param == "memory":
        async with memory_meters() as opened:
            yield opened
        return
    url = request.getfixturevalue("redis_server").url
    async with redis_meters(url, namespace, monkeypatch) as opened:
        yield opened
    await remove(url, namespace)


async def used(meters: Meters, who: Metered, allowance: Allowance, seconds: int) -> list[tuple[bool, int]]:
    """What became of one job a second."""
    found = []
    for _ in range(seconds):
        count = await meters.one.count(who, allowance)
        assert count.known
        found.append((count.granted, count.used))
        await meters.time.pass_(1)
    return found


async def test_nothing_is_counted_before_it_is_known_what_was(meters: Meters) -> None:
    count = await meters.one.count(DOOR, TWO_A_DAY)
    assert (count.known, count.granted, count.now) == (False, False, NOON)
    await meters.one.begin(DOOR, Known(TODAY))
    assert not (await meters.one.count(WINDOW, TWO_A_DAY)).known
    assert (await meters.other.count(DOOR, TWO_A_DAY)).used == 1


async def test_a_second_counts_once_however_many_jobs_and_processes(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY))
    for offset in (0.0, 0.25, 0.749_999):
        await meters.time.set(NOON + 0.25 + offset)
        counts = await asyncio.gather(*(meter.count(DOOR, TWO_A_DAY) for meter in (meters.one, meters.other) for _ in range(5)))
        assert {(count.granted, count.used) for count in counts} == {(True, 1)}
        assert counts[0].left == pytest.approx(0.75 - offset, abs=1e-5)
    await meters.time.set(NOON + 1)
    assert (await meters.other.count(DOOR, TWO_A_DAY)).used == 2


async def test_no_second_over_the_allowance_and_the_last_one_to_its_end(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY))
    assert await used(meters, DOOR, TWO_A_DAY, 4) == [(True, 1), (True, 2), (False, 2), (False, 2)]
    await meters.time.set(NOON + 1.9)
    assert (await meters.other.count(DOOR, TWO_A_DAY)).granted


async def test_two_processes_at_the_limit_share_what_is_left(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY, account_day=2, account_month=2))
    await meters.one.begin(WINDOW, Known(TODAY))
    counts = await asyncio.gather(*(meter.count(who, THREE_A_MONTH) for meter in (meters.one, meters.other) for who in (DOOR, WINDOW)))
    assert [count.granted for count in counts].count(True) == 2
    assert {count.used for count in counts} == {3}


async def test_each_stream_has_its_own_or_all_have_one_together(meters: Meters) -> None:
    for who in (DOOR, WINDOW):
        await meters.one.begin(who, Known(TODAY))
    assert await used(meters, DOOR, TWO_A_DAY, 3) == [(True, 1), (True, 2), (False, 2)]
    assert await used(meters, WINDOW, TWO_A_DAY, 2) == [(True, 1), (True, 2)]
    assert await used(meters, WINDOW, THREE_A_MONTH, 1) == [(False, 4)]
    assert await used(meters, DOOR, UNLIMITED, 2) == [(True, 3), (True, 4)]


async def test_a_day_and_a_month_end_at_midnight(meters: Meters) -> None:
    midnight = (TODAY + 1) * DAY_SECONDS
    await meters.time.set(midnight - 2)
    await meters.one.begin(DOOR, Known(TODAY, 1, 2, 1, 2))
    assert await used(meters, DOOR, TWO_A_DAY, 3) == [(True, 2), (False, 2), (True, 1)]
    await meters.time.set(midnight + 30 * DAY_SECONDS)
    assert await used(meters, DOOR, THREE_A_MONTH, 1) == [(True, 2)]
    await meters.time.set(midnight + 31 * DAY_SECONDS)
    assert await used(meters, DOOR, THREE_A_MONTH, 1) == [(True, 1)]
    assert [one.seconds for one in sorted(await meters.one.unsaved(0), key=lambda one: one.day)] == [2, 1, 1, 1]


async def test_what_was_counted_before_counts_and_is_told_once(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY, stream_day=1, stream_month=5, account_day=7, account_month=9))
    await meters.other.begin(DOOR, Known(TODAY, 100, 100, 100, 100))
    assert await used(meters, DOOR, TWO_A_DAY, 2) == [(True, 2), (False, 2)]
    assert await used(meters, DOOR, Allowance("a", 11, "month", "account", paid=True), 2) == [(True, 11), (False, 11)]


async def test_what_was_known_of_another_day_is_no_use_of_this_one(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY - 1, 2, 2, 2, 2))
    assert await used(meters, DOOR, TWO_A_DAY, 1) == [(True, 1)]
    assert await used(meters, DOOR, THREE_A_MONTH, 1) == [(False, 3)]


async def test_a_clock_set_back_by_a_moment_counts_nothing_twice(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY))
    await meters.time.set(NOON + 0.01)
    await meters.one.count(DOOR, TWO_A_DAY)
    await meters.time.set(NOON - 0.01)
    assert (await meters.one.count(DOOR, TWO_A_DAY)).used == 1
    await meters.time.set(NOON - 3600)
    assert (await meters.one.count(DOOR, TWO_A_DAY)).used == 2


async def test_days_of_use_stay_unsaved_until_they_are_safe(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY, stream_day=10, stream_month=10, account_day=10, account_month=10))
    await used(meters, DOOR, UNLIMITED, 2)
    first = await meters.other.unsaved(0)
    assert first == [DayOfUse("ann", "door", TODAY, 12)]
    await used(meters, DOOR, UNLIMITED, 1)
    await meters.other.saved(first)
    second = await meters.one.unsaved(0)
    assert second == [DayOfUse("ann", "door", TODAY, 13)]
    await meters.one.saved(second)
    await meters.one.saved([])
    assert await meters.one.unsaved(0) == []


async def test_one_process_at_a_time_is_given_what_is_unsaved(meters: Meters) -> None:
    await meters.one.begin(DOOR, Known(TODAY))
    await used(meters, DOOR, UNLIMITED, 1)
    given = [await meter.unsaved(30) for meter in (meters.one, meters.other, meters.one)]
    if meters.one is meters.other:
        assert all(given)  # nobody else could have taken it
    else:
        assert [bool(days) for days in given] == [True, False, False]
        assert await meters.other.unsaved(0) == given[0]
