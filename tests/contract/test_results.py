"""The event list of a job, over every store."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
import redis.asyncio

from shared.events import Chunk, Done, Event
from tests.contract.stores import (
    MOMENT_S,
    OTHER_SHARD,
    SOON_S,
    OpenPair,
    Pair,
    chunk,
    done,
    failed,
    job_id,
    keys_of,
    open_pair,
    pair,
    redis_pair,
    started,
    until,
)

__all__ = ["open_pair", "pair"]

#: The three relations of a job to the process that follows it: made there and waited for, made there, made elsewhere.
ORIGINS: list[dict[str, Any]] = [{"synchronous": True}, {"synchronous": False}, {"shard": OTHER_SHARD}]


async def collect(stores: Any, job: str, entered: asyncio.Event | None = None) -> list[tuple[int, Event]]:
    async with asyncio.timeout(SOON_S), stores.results.follow(job) as events:
        if entered is not None:
            entered.set()
        return [found async for found in events]


async def test_the_list_keeps_events_in_order(pair: Pair) -> None:
    job = job_id()
    entries = [started(job), chunk(job, 0), chunk(job, 1), done(job, {"deep": [1, None, "ü"]})]
    assert await pair.worker.results.append(entries) == [True] * 4
    assert await pair.gateway.results.events(job) == [entry.event for entry in entries]


async def test_pieces_go_soon_after_the_end_and_the_answer_stays(open_pair: OpenPair) -> None:
    async with open_pair(result_seconds=60, piece_seconds=MOMENT_S) as pair:
        job = job_id()
        entries = [started(job), chunk(job, 0), chunk(job, 1)]
        await pair.worker.results.append(entries)
        await asyncio.sleep(2 * MOMENT_S)
        assert await pair.gateway.results.events(job) == [entry.event for entry in entries]  # they go on for as long as the job does
        end = done(job)
        await pair.worker.results.append([end])
        assert [index for index, event in await collect(pair.gateway, job) if isinstance(event, Chunk) and event.data] == [1, 2]

        async def are_gone() -> bool:
            return [event.data for event in await pair.gateway.results.events(job, 1) if isinstance(event, Chunk)] == [{}, {}]

        await until(are_gone)
        found = await collect(pair.gateway, job)
        assert [index for index, _ in found] == [0, 1, 2, 3]  # whoever counts on is not misled
        assert found[-1][1] == end.event
        assert await pair.gateway.results.events(job, -1) == [end.event]


async def test_a_job_without_events_is_unfinished(pair: Pair) -> None:
    assert await pair.gateway.results.events(job_id()) == []
    assert await pair.gateway.results.finished([job_id(), job_id()]) == [False, False]
    assert await pair.gateway.results.finished([]) == []
    assert await pair.worker.results.append([]) == []


async def test_finished_knows_each_job(pair: Pair) -> None:
    jobs = [job_id() for _ in range(4)]
    await pair.worker.results.append([started(jobs[0]), done(jobs[1]), failed(jobs[2])])
    assert await pair.gateway.results.finished(jobs) == [False, True, True, False]


async def test_nothing_is_appended_after_the_end(pair: Pair) -> None:
    job = job_id()
    assert await pair.worker.results.append([done(job, "first"), done(job, "second"), started(job)]) == [True, False, False]
    assert await pair.worker.results.append([failed(job)]) == [False]
    assert [event.result for event in await pair.gateway.results.events(job) if isinstance(event, Done)] == [{"answer": "first"}]


async def test_one_of_many_ends_wins(pair: Pair) -> None:
    jobs = [job_id() for _ in range(20)]
    tries = [[(stores.results.append([done(job, number)])) for stores in pair for number in range(5)] for job in jobs]
    for job, appends in zip(jobs, tries, strict=True):
        written = await asyncio.gather(*appends)
        assert sum(outcome[0] for outcome in written) == 1
        assert len(await pair.gateway.results.events(job)) == 1


async def test_a_large_batch_is_answered_entry_by_entry(pair: Pair) -> None:
    jobs = [job_id() for _ in range(300)]
    await pair.worker.results.append([done(job) for job in jobs[::3]])
    written = await pair.worker.results.append([done(job) for job in jobs])
    assert written == [index % 3 != 0 for index in range(300)]


async def test_what_is_stored_is_a_copy(pair: Pair) -> None:
    job, answer = job_id(), {"list": [1]}
    await pair.worker.results.append([done(job, answer)])
    answer["list"].append(2)
    (event,) = await pair.gateway.results.events(job)
    assert isinstance(event, Done)
    assert event.result == {"answer": {"list": [1]}}


@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_follower_gets_every_event_once_and_ends(pair: Pair, origin: dict[str, Any]) -> None:
    job = job_id(**origin)
    async with asyncio.timeout(SOON_S), pair.gateway.results.follow(job) as events:
        entries = [started(job), *(chunk(job, part) for part in range(50)), done(job)]
        for entry in entries:
            await pair.worker.results.append([entry])
        assert [found async for found in events] == list(enumerate(entry.event for entry in entries))


@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_late_follower_misses_nothing(pair: Pair, origin: dict[str, Any]) -> None:
    job = job_id(**origin)
    await pair.worker.results.append([started(job), chunk(job, 0)])
    entered = asyncio.Event()
    following = asyncio.create_task(collect(pair.gateway, job, entered))
    await entered.wait()
    await pair.worker.results.append([chunk(job, 1), done(job)])
    assert [index for index, _ in await following] == [0, 1, 2, 3]
    assert [index for index, _ in await collect(pair.gateway, job)] == [0, 1, 2, 3]


@pytest.mark.parametrize("origin", ORIGINS)
async def test_followers_that_come_at_any_moment_all_see_the_same(pair: Pair, origin: dict[str, Any]) -> None:
    jobs = [job_id(**origin) for _ in range(10)]

    async def work() -> None:
        for part in range(10):
            await pair.worker.results.append([chunk(job, part) for job in jobs])
        await pair.worker.results.append([done(job) for job in jobs])

    working = asyncio.create_task(work())
    following = []
    while not working.done():
        following += [asyncio.create_task(collect(pair.gateway, job)) for job in jobs]
        await asyncio.sleep(0.002)
    following += [asyncio.create_task(collect(pair.gateway, job)) for job in jobs]
    for seen in await asyncio.gather(*following):
        assert [index for index, _ in seen] == list(range(11))
        assert seen[-1][1].final


async def test_followers_of_one_job_do_not_share_what_they_get(pair: Pair) -> None:
    job = job_id()
    entered = asyncio.Event()
    following = [asyncio.create_task(collect(pair.gateway, job, entered)) for _ in range(3)]
    await entered.wait()
    await pair.worker.results.append([done(job)])
    results = [seen[0][1] for seen in await asyncio.gather(*following)]
    assert isinstance(results[0], Done)
    results[0].result["answer"] = "spoilt"
    assert all(isinstance(event, Done) and event.result == {"answer": 1} for event in results[1:])


async def test_a_cancelled_follower_leaves_the_others(pair: Pair) -> None:
    job = job_id()
    entered = asyncio.Event()
    leaving, staying = asyncio.create_task(collect(pair.gateway, job)), asyncio.create_task(collect(pair.gateway, job, entered))
    await entered.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    await pair.worker.results.append([done(job)])
    assert len(await staying) == 1
    assert leaving.cancelled()


async def test_waiting_can_be_interrupted_and_goes_on(pair: Pair) -> None:
    """A stream of server-sent events waits for a while, sends a comment, and waits again."""
    job = job_id(synchronous=False)
    async with pair.gateway.results.follow(job) as events:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await anext(events)
        await pair.worker.results.append([started(job), done(job)])
        async with asyncio.timeout(SOON_S):
            assert [index async for index, _ in events] == [0, 1]


async def test_results_are_kept_for_their_time(open_pair: OpenPair) -> None:
    async with open_pair(result_seconds=0.3) as pair:
        job = job_id()
        await pair.worker.results.append([done(job)])
        assert await pair.gateway.results.finished([job]) == [True]
        await until(lambda: _gone(pair, job))
        assert await pair.gateway.results.finished([job]) == [False]


async def _gone(pair: Pair, job: str) -> bool:
    return await pair.gateway.results.events(job) == []


async def test_attempts_are_counted(pair: Pair) -> None:
    job, other = job_id(), job_id()
    assert [await pair.worker.results.count_attempt(job) for _ in range(3)] == [1, 2, 3]
    assert await pair.worker.results.count_attempt(job, -1) == 2
    assert await pair.gateway.results.count_attempt(job, 0) == 2
    assert await pair.worker.results.count_attempt(other) == 1


async def test_ten_thousand_followers_leave_nothing(pair: Pair) -> None:
    followers: Any = pair.gateway.results._followers  # type: ignore[attr-defined] # the only place where a leak would show
    for start in range(0, 10_000, 500):
        jobs = [job_id() for _ in range(500)]
        following = [asyncio.create_task(collect(pair.gateway, job)) for job in jobs]
        await asyncio.sleep(0)
        if start % 1000:
            for task in following:
                task.cancel()
            await asyncio.wait(following)
        else:
            await pair.worker.results.append([done(job) for job in jobs])
            await asyncio.gather(*following)
    assert len(followers) == 0


async def test_following_a_new_job_of_this_process_costs_no_command(own_redis: Any, namespace: str) -> None:
    async with redis_pair(own_redis.url, namespace) as pair, redis.asyncio.Redis.from_url(own_redis.url) as client:
        await pair.gateway.ping()
        commands = await _calls(client)
        jobs = [job_id() for _ in range(20)]
        following = [asyncio.create_task(collect(pair.gateway, job)) for job in jobs]
        await asyncio.sleep(0)
        await pair.worker.results.append([done(job) for job in jobs])
        assert [len(seen) for seen in await asyncio.gather(*following)] == [1] * 20
        used = {name: count - commands.get(name, 0) for name, count in (await _calls(client)).items()}
        assert used.get("cmdstat_lrange", 0) == used.get("cmdstat_subscribe", 0) == 0


async def _calls(client: Any) -> dict[str, int]:
    return {name: facts["calls"] for name, facts in (await client.info("commandstats")).items()}


async def test_every_key_expires(redis_server: Any, namespace: str) -> None:
    """A key that stays for ever would fill the server."""
    async with redis_pair(redis_server.url, namespace, result_seconds=0.5) as pair:
        job = job_id()
        await pair.worker.results.append([started(job), done(job)])
        await pair.worker.results.count_attempt(job_id())
        begin = time.monotonic()
        assert await keys_of(redis_server.url, namespace)
        await until(lambda: _no_keys(redis_server.url, namespace))
        assert time.monotonic() - begin < 5


async def _no_keys(url: str, namespace: str) -> bool:
    return not await keys_of(url, namespace)


async def test_closing_ends_every_follower(open_pair: OpenPair) -> None:
    async with open_pair() as pair:
        own, foreign = job_id(), job_id(shard=OTHER_SHARD)
        following = [asyncio.create_task(collect(pair.gateway, job)) for job in (own, foreign)]
        await asyncio.wait(following, timeout=MOMENT_S)
    outcomes = await asyncio.gather(*following, return_exceptions=True)
    assert [getattr(outcome, "code", None) for outcome in outcomes] == ["store_away", "store_away"]
