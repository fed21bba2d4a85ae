"""When sessions end: silent, claimed by one gateway, closed once, and kept until then, over every store."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from shared.jobs import Turn
from shared.ports import Snapshot, Stores
from tests.contract.stores import OpenPair, keys_of, open_pair, redis_pair, until
from tests.contract.test_sessions import SESSION, apply, give_up, number

__all__ = ["open_pair"]


async def claimed(stores: Stores) -> list[Turn]:
    """The closing turns, once there are some."""
    turns: list[Turn] = []

    async def look() -> bool:
        turns.extend(await stores.sessions.expired())
        return bool(turns)

    await until(look)
    return turns


async def test_a_session_that_is_alive_is_not_closed(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=1.0) as pair:
        begin = time.monotonic()
        while time.monotonic() - begin < 1.5:
            last = time.monotonic()
            await number(pair.gateway, 1)
            turns = await pair.gateway.sessions.expired()
            assert turns == [] or time.monotonic() - last > 0.9  # (a machine that stands still for so long may be right)
            await asyncio.sleep(0.1)


async def test_a_session_whose_frame_is_under_way_is_not_silent(open_pair: OpenPair) -> None:
    """Its client waits for the answer before it sends the next."""
    async with open_pair(session_seconds=0.2) as pair:
        first, second = await number(pair.gateway, 2)
        await apply(pair.worker, first)
        for _ in range(6):
            await asyncio.sleep(0.1)
            assert await pair.gateway.sessions.expired() == []
        begin = time.monotonic()
        await apply(pair.worker, second)
        assert await claimed(pair.gateway) == [Turn(SESSION, 3, closing=True)]
        assert time.monotonic() - begin > 0.15


async def test_a_frame_that_never_ends_keeps_its_session_for_the_time_of_a_job(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1, deadline_seconds=0.5) as pair:
        begin = time.monotonic()
        await number(pair.gateway, 1)
        assert await claimed(pair.gateway) == [Turn(SESSION, 2, closing=True)]
        assert time.monotonic() - begin > 0.5


async def test_a_silent_session_is_closed_once(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.2) as pair:
        (turn,) = await number(pair.gateway, 1)
        await apply(pair.worker, turn)
        (closing,) = await claimed(pair.gateway)
        assert closing == Turn(SESSION, 2, closing=True)
        claims = await asyncio.gather(*(stores.sessions.expired() for _ in range(5) for stores in pair))
        assert [turns for turns in claims if turns] == []
        assert (await pair.worker.sessions.load(SESSION)).state == b"state"
        assert await apply(pair.worker, closing, b"a closing turn keeps nothing")
        assert await pair.worker.sessions.load(SESSION) == Snapshot(None, 2, 2, 0)
        await asyncio.sleep(0.3)
        assert await pair.gateway.sessions.expired() == []


async def test_one_of_many_keepers_gets_the_claim(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1, deadline_seconds=0.1) as pair:
        names = [f"session-{place}" for place in range(20)]
        for name in names:
            await number(pair.gateway, 1, name)
        found: list[str] = []

        async def all_found() -> bool:
            for turns in await asyncio.gather(*(stores.sessions.expired() for stores in pair for _ in range(3))):
                found.extend(turn.session for turn in turns)
            return len(found) >= len(names)

        await until(all_found)
        assert sorted(found) == sorted(names)


async def test_every_session_is_closed_where_the_store_ends(open_pair: OpenPair) -> None:
    """Those that are not silent, and those that have a frame under way, are closed behind it; not those that are closed."""
    async with open_pair() as pair:
        for name, ended in (("speaks", 2), ("busy", 1), ("closed", 2)):
            for turn in (await number(pair.gateway, 2, name))[:ended]:
                await apply(pair.worker, turn)
        await apply(pair.worker, Turn("closed", (await number(pair.gateway, 1, "closed"))[0].number, closing=True))
        turns = await pair.gateway.sessions.expired(every=True)
        assert sorted(turns, key=lambda turn: turn.session) == [Turn("busy", 3, closing=True), Turn("speaks", 3, closing=True)]
        assert await pair.gateway.sessions.expired() == []


async def test_a_lost_closing_is_given_again_with_its_number(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1, closing_lease_seconds=0.3) as pair:
        (turn,) = await number(pair.gateway, 1)
        await apply(pair.worker, turn)
        first = await claimed(pair.gateway)
        begin = time.monotonic()
        assert await claimed(pair.gateway) == first == [Turn(SESSION, 2, closing=True)]
        assert time.monotonic() - begin > 0.2
        await apply(pair.worker, first[0])
        await asyncio.sleep(0.4)
        assert await pair.gateway.sessions.expired() == []


async def test_a_session_that_cannot_be_closed_is_kept_for_whoever_closes_it(open_pair: OpenPair) -> None:
    """Longer than a session whose closing is done."""
    async with open_pair(session_seconds=0.1, result_seconds=0.2, closing_lease_seconds=0.1) as pair:
        (turn,) = await number(pair.gateway, 1)
        await apply(pair.worker, turn)
        begin = time.monotonic()
        while time.monotonic() - begin < 1:
            (closing,) = await claimed(pair.gateway)
        assert (await pair.worker.sessions.load(SESSION)).state == b"state"
        assert await apply(pair.worker, closing)


async def test_a_session_that_is_never_closed_is_not_kept_for_ever(open_pair: OpenPair) -> None:
    times = {"session_seconds": 0.1, "result_seconds": 0.1, "closing_lease_seconds": 0.05, "closing_seconds": 0.5}
    async with open_pair(**times) as pair:
        (turn,) = await number(pair.gateway, 1)
        await apply(pair.worker, turn)

        async def forgotten() -> bool:
            await pair.gateway.sessions.expired()
            return (await pair.worker.sessions.load(SESSION)).numbered == 0

        await until(forgotten)


async def test_a_frame_after_the_claim_begins_anew(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.2, closing_lease_seconds=0.4) as pair:
        (turn,) = await number(pair.gateway, 1)
        await apply(pair.worker, turn, b"old")
        (closing,) = await claimed(pair.gateway)
        (after,) = await number(pair.gateway, 1)
        assert (closing.number, after.number) == (2, 3)
        assert await claimed(pair.gateway) == [closing]
        assert await apply(pair.worker, closing)
        assert await pair.worker.sessions.load(SESSION) == Snapshot(None, 2, 3, 0)
        assert await apply(pair.worker, after, b"new")
        assert await claimed(pair.gateway) == [Turn(SESSION, 4, closing=True)]
        assert (await pair.worker.sessions.load(SESSION)).state == b"new"


async def test_a_closing_that_failed_ends_the_session_too(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1, closing_lease_seconds=0.2) as pair:
        (turn,) = await number(pair.gateway, 1)
        await apply(pair.worker, turn)
        (closing,) = await claimed(pair.gateway)
        assert await give_up(pair.worker, closing)
        assert await pair.worker.sessions.load(SESSION) == Snapshot(None, 2, 2, 0)
        await asyncio.sleep(0.4)
        assert await pair.gateway.sessions.expired() == []


async def test_a_closing_given_up_out_of_turn_forgets_the_state_when_its_turn_comes(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1, deadline_seconds=0.1) as pair:
        first, second = await number(pair.gateway, 2)
        await apply(pair.worker, first)
        (closing,) = await claimed(pair.gateway)
        await give_up(pair.worker, closing)
        assert (await pair.worker.sessions.load(SESSION)).finished == 1
        await apply(pair.worker, second)
        assert await pair.worker.sessions.load(SESSION) == Snapshot(None, 3, 3, 0)


async def test_a_closing_jumped_over_is_tried_again(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1) as pair:
        await apply(pair.worker, (await number(pair.gateway, 1))[0])
        await claimed(pair.gateway)
        (after,) = await number(pair.gateway, 1)
        await apply(pair.worker, after, b"goes on")
        assert await claimed(pair.gateway) == [Turn(SESSION, 4, closing=True)]


async def test_late_duplicates_of_a_closed_session_are_recognised(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1) as pair:
        (turn,) = await number(pair.gateway, 1)
        await apply(pair.worker, turn)
        (closing,) = await claimed(pair.gateway)
        await apply(pair.worker, closing)
        assert not await apply(pair.worker, turn)
        assert not await apply(pair.worker, closing)
        assert [after.number for after in await number(pair.gateway, 1)] == [3]


async def test_a_record_is_forgotten_in_the_end(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=0.1, result_seconds=0.3) as pair:
        turns = await number(pair.gateway, 3)
        await give_up(pair.worker, turns[2])
        await apply(pair.worker, turns[0])

        async def forgotten() -> bool:
            return (await pair.worker.sessions.load(SESSION)).numbered == 0

        await until(forgotten)
        assert await pair.gateway.sessions.expired() == []
        assert [turn.number for turn in await number(pair.gateway, 1)] == [1]


async def test_redis_keeps_no_trace(redis_server: Any, namespace: str) -> None:
    times = {"session_seconds": 0.1, "result_seconds": 0.3, "closing_lease_seconds": 0.2, "closing_seconds": 0.5, "deadline_seconds": 0.1}
    async with redis_pair(redis_server.url, namespace, **times) as pair:
        turns = await number(pair.gateway, 3)
        await give_up(pair.worker, turns[2])
        await apply(pair.worker, turns[0])

        async def nothing_left() -> bool:
            await pair.gateway.sessions.expired()
            return not await keys_of(redis_server.url, namespace)

        await until(nothing_left)
