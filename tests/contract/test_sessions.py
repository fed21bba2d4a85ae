"""Numbered frames and versioned state of sessions, over every store."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from shared.jobs import Turn
from shared.ports import Snapshot, Stores
from tests.contract.stores import MOMENT_S, SOON_S, OpenPair, Pair, done, job_id, keys_of, open_pair, pair, redis_pair, started, until

__all__ = ["open_pair", "pair"]

SESSION = "tenant/service.1/session"


async def number(stores: Stores, count: int, session: str = SESSION) -> list[Turn]:
    return [Turn(session, await stores.sessions.number(session)) for _ in range(count)]


async def apply(stores: Stores, turn: Turn, state: bytes | None = b"state") -> bool:
    return await stores.sessions.save(turn, await stores.sessions.load(turn.session), state, None)


async def give_up(stores: Stores, turn: Turn) -> bool:
    return await stores.sessions.save(turn, None, b"not looked at", None)


async def claimed(stores: Stores) -> list[Turn]:
    """The closing turns, once there are some."""
    turns: list[Turn] = []

    async def look() -> bool:
        turns.extend(await stores.sessions.expired())
        return bool(turns)

    await until(look)
    return turns


async def test_numbers_count_from_one_in_each_session(pair: Pair) -> None:
    assert [turn.number for turn in await number(pair.gateway, 3)] == [1, 2, 3]
    assert [turn.number for turn in await number(pair.gateway, 2, "other")] == [1, 2]
    numbers = await asyncio.gather(*(stores.sessions.number(SESSION) for _ in range(50) for stores in pair))
    assert sorted(numbers) == list(range(4, 104))


async def test_an_unknown_session_is_empty(pair: Pair) -> None:
    assert await pair.worker.sessions.load("unknown") == Snapshot(None, 0, 0, 0)


async def test_state_goes_from_frame_to_frame(pair: Pair) -> None:
    first, second = await number(pair.gateway, 2)
    assert await apply(pair.worker, first, b"\x00one\xff")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"\x00one\xff", 1, 2, 0)
    assert await apply(pair.worker, second, b"")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"", 2, 2, 0)


async def test_no_state_replaces_the_stored_one(pair: Pair) -> None:
    first, second = await number(pair.gateway, 2)
    await apply(pair.worker, first, b"state")
    await apply(pair.worker, second, None)
    assert (await pair.worker.sessions.load(SESSION)).state is None


async def test_the_final_event_comes_with_the_state(pair: Pair) -> None:
    (turn,), job = await number(pair.gateway, 1), job_id()
    async with asyncio.timeout(SOON_S), pair.gateway.results.follow(job) as events:
        seen = await pair.worker.sessions.load(SESSION)
        await pair.worker.results.append([started(job)])
        assert await pair.worker.sessions.save(turn, seen, b"state", done(job))
        assert [(index, event.final) async for index, event in events] == [(0, False), (1, True)]
    assert await pair.gateway.results.finished([job]) == [True]


async def test_a_refused_save_changes_nothing(pair: Pair) -> None:
    first, second = await number(pair.gateway, 2)
    stale = await pair.worker.sessions.load(SESSION)
    await apply(pair.worker, first, b"one")
    job = job_id()
    assert not await pair.worker.sessions.save(second, stale, b"two", done(job))
    assert not await pair.worker.sessions.save(first, await pair.worker.sessions.load(SESSION), b"again", done(job))
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"one", 1, 2, 0)
    assert await pair.gateway.results.events(job) == []


async def test_a_job_that_had_ended_still_takes_its_turn(pair: Pair) -> None:
    (turn,), job = await number(pair.gateway, 1), job_id()
    await pair.gateway.results.append([done(job, "cancelled")])
    seen = await pair.worker.sessions.load(SESSION)
    assert await pair.worker.sessions.save(turn, seen, b"state", done(job, "late"))
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"state", 1, 1, 0)
    assert len(await pair.gateway.results.events(job)) == 1


async def test_of_twins_one_wins(pair: Pair) -> None:
    for turn in await number(pair.gateway, 20):
        seen = await pair.worker.sessions.load(SESSION)
        tries = [stores.sessions.save(turn, seen, f"{turn.number}".encode(), None) for _ in range(3) for stores in pair]
        assert sum(await asyncio.gather(*tries)) == 1
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"20", 20, 20, 0)


async def test_a_gap_is_given_up_by_the_frame_that_goes_on(pair: Pair) -> None:
    turns = await number(pair.gateway, 5)
    await apply(pair.worker, turns[0])
    await apply(pair.worker, turns[3], b"four")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"four", 4, 5, 0)
    assert not await apply(pair.worker, turns[1])
    assert await apply(pair.worker, turns[4])


async def test_frames_given_up_in_turn_are_counted_until_one_is_applied(pair: Pair) -> None:
    turns = await number(pair.gateway, 4)
    await apply(pair.worker, turns[0], b"one")
    assert await give_up(pair.worker, turns[1])
    assert await give_up(pair.worker, turns[2])
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"one", 3, 4, 2)
    await apply(pair.worker, turns[3], b"four")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"four", 4, 4, 0)


async def test_frames_given_up_out_of_turn_are_passed_over(pair: Pair) -> None:
    turns = await number(pair.gateway, 6)
    for place in (3, 1, 2, 1):
        assert await give_up(pair.worker, turns[place])
    assert await pair.worker.sessions.load(SESSION) == Snapshot(None, 0, 6, 0)
    await apply(pair.worker, turns[0], b"one")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"one", 4, 6, 3)
    await apply(pair.worker, turns[4], b"five")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"five", 5, 6, 0)


async def test_a_frame_given_up_out_of_turn_and_jumped_over_is_not_counted_again(pair: Pair) -> None:
    turns = await number(pair.gateway, 4)
    await give_up(pair.worker, turns[1])
    await apply(pair.worker, turns[2], b"three")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"three", 3, 4, 0)
    await apply(pair.worker, turns[3])
    assert (await pair.worker.sessions.load(SESSION)).finished == 4


async def test_giving_up_what_is_finished_changes_nothing(pair: Pair) -> None:
    (turn,), job = await number(pair.gateway, 1), job_id()
    await apply(pair.worker, turn)
    assert await pair.worker.sessions.save(turn, None, None, done(job))
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"state", 1, 1, 0)
    assert await pair.gateway.results.finished([job]) == [True]


async def test_a_session_that_the_store_lost_goes_on_after_the_frame_in_hand(pair: Pair) -> None:
    assert await apply(pair.worker, Turn(SESSION, 57), b"state")
    assert await pair.worker.sessions.load(SESSION) == Snapshot(b"state", 57, 57, 0)
    assert await pair.gateway.sessions.number(SESSION) == 58


async def test_a_parked_frame_is_woken_when_its_turn_comes(pair: Pair) -> None:
    turns = await number(pair.gateway, 4)
    waiting = [asyncio.create_task(pair.gateway.sessions.advanced(SESSION, turn.number - 1)) for turn in turns]
    await asyncio.wait_for(waiting[0], SOON_S)
    for turn in turns[:3]:
        assert not waiting[turn.number].done()
        await apply(pair.worker, turn)
        await asyncio.wait_for(waiting[turn.number], SOON_S)


async def test_a_parked_frame_is_woken_by_frames_given_up(pair: Pair) -> None:
    turns = await number(pair.gateway, 3)
    waiting = asyncio.create_task(pair.gateway.sessions.advanced(SESSION, 2))
    await give_up(pair.worker, turns[1])
    done_early, _ = await asyncio.wait([waiting], timeout=MOMENT_S)
    assert not done_early
    await give_up(pair.worker, turns[0])
    await asyncio.wait_for(waiting, SOON_S)


async def test_waiting_for_what_is_finished_returns(pair: Pair) -> None:
    (turn,) = await number(pair.gateway, 1)
    await apply(pair.worker, turn)
    await asyncio.wait_for(pair.gateway.sessions.advanced(SESSION, 1), SOON_S)
    await asyncio.wait_for(pair.gateway.sessions.advanced("unknown", 0), SOON_S)


async def test_cancelled_waits_leave_nothing(pair: Pair) -> None:
    waiting = [asyncio.create_task(pair.gateway.sessions.advanced(SESSION, 5)) for _ in range(20)]
    await asyncio.wait(waiting, timeout=0.05)
    for task in waiting:
        task.cancel()
    await asyncio.wait(waiting)
    sessions: Any = pair.gateway.sessions
    assert not sessions._parked


async def test_a_session_that_is_alive_is_not_closed(open_pair: OpenPair) -> None:
    async with open_pair(session_seconds=1.0) as pair:
        begin = time.monotonic()
        while time.monotonic() - begin < 1.5:
            last = time.monotonic()
            await number(pair.gateway, 1)
            turns = await pair.gateway.sessions.expired()
            assert turns == [] or time.monotonic() - last > 0.9  # (a machine that stands still for so long may be right)
            await asyncio.sleep(0.1)


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
    async with open_pair(session_seconds=0.1) as pair:
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
    async with open_pair(session_seconds=0.1) as pair:
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
    times = {"session_seconds": 0.1, "result_seconds": 0.3, "closing_lease_seconds": 0.2, "closing_seconds": 0.5}
    async with redis_pair(redis_server.url, namespace, **times) as pair:
        turns = await number(pair.gateway, 3)
        await give_up(pair.worker, turns[2])
        await apply(pair.worker, turns[0])

        async def nothing_left() -> bool:
            await pair.gateway.sessions.expired()
            return not await keys_of(redis_server.url, namespace)

        await until(nothing_left)


@pytest.mark.parametrize("workers", [3])
async def test_many_workers_apply_each_frame_once_and_in_order(pair: Pair, workers: int) -> None:
    """The runner's loop in small: frames handed out in any order, each twice."""
    turns = await number(pair.gateway, 60)
    hands: asyncio.Queue[Turn] = asyncio.Queue()
    for turn in [turn for place in range(0, 60, 6) for turn in reversed(turns[place : place + 6])] + turns[::7]:
        hands.put_nowait(turn)

    async def work(stores: Stores) -> None:
        while not hands.empty():
            await handle(stores, hands.get_nowait())

    async def handle(stores: Stores, turn: Turn) -> None:
        await stores.sessions.advanced(SESSION, turn.number - 1)
        seen = await stores.sessions.load(SESSION)
        if seen.finished < turn.number:
            await stores.sessions.save(turn, seen, (seen.state or b"") + b"%d," % turn.number, None)

    async with asyncio.timeout(SOON_S):
        await asyncio.gather(*(work(pair[place % 2]) for place in range(workers * 6)))
    assert (await pair.worker.sessions.load(SESSION)).state == b"".join(b"%d," % place for place in range(1, 61))
