"""Numbered frames and versioned state of sessions, over every store."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from shared.jobs import Turn
from shared.ports import Snapshot, Stores
from tests.contract.stores import MOMENT_S, SOON_S, Pair, done, job_id, open_pair, pair, started

__all__ = ["open_pair", "pair"]

SESSION = "tenant/service.1/session"


async def number(stores: Stores, count: int, session: str = SESSION) -> list[Turn]:
    return [Turn(session, await stores.sessions.number(session)) for _ in range(count)]


async def apply(stores: Stores, turn: Turn, state: bytes | None = b"state") -> bool:
    return await stores.sessions.save(turn, await stores.sessions.load(turn.session), state, None)


async def give_up(stores: Stores, turn: Turn) -> bool:
    return await stores.sessions.save(turn, None, b"not looked at", None)


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
