"""Pushes and readings that overlap, come late, or are lost: each follower still gets each event once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.errors import StoreAway
from shared.events import Chunk, Done, Event
from shared.followers import Follower, Followers, stored_event, stored_form

JOB = "job"
EVENTS: list[Event] = [*(Chunk(float(part), {"part": part}) for part in range(5)), Done(5.0, {"answer": 1})]
STORED = [stored_form(event) for event in EVENTS]
SOON_S = 5.0


class List:
    """The list of one job as a store would have it; fails the first ``failures`` readings."""

    def __init__(self, failures: int = 0) -> None:
        self.events: list[bytes] = []
        self.readings: list[int] = []
        self._failures = failures

    async def read(self, places: Sequence[tuple[str, int]]) -> Sequence[Sequence[bytes]]:
        self.readings += [start for _, start in places]
        if len(self.readings) <= self._failures:
            raise StoreAway
        return [self.events[start:] for _, start in places]


async def collect(follower: Follower) -> list[tuple[int, Event]]:
    async with asyncio.timeout(SOON_S):
        return [found async for found in follower]


@pytest.mark.parametrize("event", EVENTS)
def test_the_stored_form_comes_back(event: Event) -> None:
    assert stored_event(stored_form(event)) == event


@given(st.lists(st.integers(0, len(STORED) - 1), max_size=30))
def test_any_order_of_pushes_gives_each_event_once(order: list[int]) -> None:
    async def run() -> None:
        stored = List()
        followers = Followers(stored.read)
        async with Follower(followers, JOB) as follower:
            for index in order:
                stored.events = STORED[: max(index + 1, len(stored.events))]
                followers.push(JOB, index, STORED[index])
                if index % 2:
                    await asyncio.sleep(0)
            stored.events = STORED
            followers.push(JOB, len(STORED) - 1, STORED[-1])
            assert await collect(follower) == list(enumerate(EVENTS))
        assert len(followers) == 0

    asyncio.run(run())


async def test_a_hole_is_read_from_the_list_from_where_it_begins() -> None:
    stored = List()
    stored.events = list(STORED)
    followers = Followers(stored.read)
    async with Follower(followers, JOB) as follower:
        followers.push(JOB, 0, STORED[0])
        followers.push(JOB, 4, STORED[4])
        assert await collect(follower) == list(enumerate(EVENTS))
    assert stored.readings == [1]


async def test_reading_is_tried_again_while_the_store_is_away() -> None:
    stored = List(failures=2)
    stored.events = list(STORED)
    followers = Followers(stored.read)
    async with Follower(followers, JOB) as follower:
        followers.reread()
        assert await collect(follower) == list(enumerate(EVENTS))
    assert stored.readings == [0, 0, 0]


async def test_followers_at_different_places_are_served_by_one_reading() -> None:
    stored = List()
    followers = Followers(stored.read)
    async with Follower(followers, JOB) as early:
        followers.push(JOB, 0, STORED[0])
        async with Follower(followers, JOB) as late:
            stored.events = list(STORED)
            followers.reread()
            assert await collect(late) == await collect(early) == list(enumerate(EVENTS))
    assert stored.readings == [0]


async def test_an_end_at_a_smaller_index_is_taken_once() -> None:
    """The store lost the list, and the job was done again."""
    followers = Followers(List().read)
    async with Follower(followers, JOB) as follower:
        for index in range(3):
            followers.push(JOB, index, STORED[index])
        followers.push(JOB, 0, STORED[-1])
        followers.push(JOB, 1, STORED[-1])
        assert [index for index, _ in await collect(follower)] == [0, 1, 2, 0]


async def test_preparing_is_repeated_until_it_succeeds() -> None:
    tries: list[str] = []
    released: list[str] = []
    followers = Followers(List().read)

    async def prepare(follower: Follower) -> None:
        tries.append(follower.job_id)
        if len(tries) < 3:
            raise StoreAway
        followers.push_list(JOB, 0, STORED)

    async with Follower(followers, JOB, prepare, lambda follower: released.append(follower.job_id)) as follower:
        for _ in range(2):
            with pytest.raises(StoreAway):
                await anext(follower)
        assert await collect(follower) == list(enumerate(EVENTS))
    assert (tries, released) == ([JOB] * 3, [JOB])


async def test_closing_ends_who_waits_and_who_comes_later() -> None:
    followers = Followers(List(failures=1000).read)
    async with Follower(followers, JOB) as waiting, Follower(followers, JOB) as served:
        served.push(0, STORED[-1])
        followers.reread()
        task = asyncio.create_task(collect(waiting))
        await asyncio.sleep(0)
        await followers.close()
        with pytest.raises(StoreAway):
            await task
        assert [index for index, _ in await collect(served)] == [0]
    async with Follower(followers, JOB) as late:
        with pytest.raises(StoreAway):
            await collect(late)
