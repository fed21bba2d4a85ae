"""Pieces of an answer: emitted once each in order, whatever happens to the worker half-way, over both kinds of adapters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from shared.errors import Cancelled
from shared.events import Chunk, Done, Event, Failed
from shared.pieces import Pieces
from shared.ports import DEAD_LETTERS, Entry
from shared.visits import VISITS
from tests.contract import brokers, stores
from tests.fakes import MISBEHAVING, Bench, make_job, open_bench
from workers.catalog import load_catalog


@pytest.fixture(params=["memory", "servers"])
async def bench(request: pytest.FixtureRequest, namespace: str) -> AsyncIterator[Bench]:
    if request.param == "memory":
        async with open_bench() as opened:
            yield opened
        return
    broker, store = (request.getfixturevalue(name).url for name in ("rabbitmq_server", "redis_server"))
    async with open_bench(broker=broker, store=store, namespace=namespace, publish_seconds=10) as opened:
        yield opened
    await brokers.remove(broker, namespace, ("singer", VISITS, DEAD_LETTERS))
    await stores.remove(store, namespace)


def singer() -> Any:
    return load_catalog(MISBEHAVING)["singer", 1]()


async def events_of(bench: Bench, job_id: str) -> list[Event]:
    """Everything that was stored of the job, up to its end."""
    async with asyncio.timeout(10), bench.stores.results.follow(job_id) as events:
        return [event async for _, event in events]


def numbers(events: list[Event]) -> list[int]:
    return [event.data["number"] for event in events if isinstance(event, Chunk)]


def taken(events: list[Event]) -> list[int]:
    pieces = Pieces()
    return numbers([event for event in events if pieces.is_news(event)])


async def test_pieces_come_before_the_answer_in_order(bench: Bench) -> None:
    await bench.start_runner(singer())
    job = make_job("singer", pieces=4, stream=True)
    await bench.publish(job)
    events = await events_of(bench, job.id)
    assert numbers(events) == [0, 1, 2, 3]
    assert isinstance(events[-1], Done)
    assert len({event.data["sound"] for event in events if isinstance(event, Chunk)}) == 4


async def test_without_being_asked_for_none_is_stored(bench: Bench) -> None:
    await bench.start_runner(singer())
    for parameters in ({}, {"stream": False}):
        job = make_job("singer", **parameters)
        await bench.publish(job)
        assert [type(event) for event in await events_of(bench, job.id)] == [Done]


async def test_items_of_a_batch_are_streamed_each_by_itself(bench: Bench) -> None:
    await bench.start_runner(singer(), batch=4, slots=1)
    jobs = [make_job("singer", pieces=count, stream=True) for count in (2, 3, 4)]
    await asyncio.gather(*(bench.publish(job) for job in jobs))
    assert [numbers(await events_of(bench, job.id)) for job in jobs] == [[0, 1], [0, 1, 2], [0, 1, 2, 3]]


async def test_two_workers_with_one_job_say_nothing_twice(bench: Bench) -> None:
    await bench.start_runner(singer())
    await bench.start_runner(singer())
    job = make_job("singer", pieces=20, stream=True)
    await asyncio.gather(*(bench.publish(job) for _ in range(4)))
    events = await events_of(bench, job.id)
    assert taken(events) == list(range(20))
    assert sum(event.final for event in events) == 1


async def test_a_service_that_raises_half_way_fails_after_its_pieces(bench: Bench) -> None:
    await bench.start_runner(singer())
    job = make_job("singer", pieces=3, stream=True, stop_at=2, deed="raise")
    await bench.publish(job)
    events = await events_of(bench, job.id)
    assert numbers(events) == [0, 1]
    assert isinstance(events[-1], Failed)
    assert events[-1].code == "service_failed"


async def test_a_cancelled_job_stops_at_its_next_piece(bench: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    await bench.start_runner(singer(), slots=1)
    job = make_job("singer", pieces=100, stream=True, wait_for=str(gate))
    async with bench.stores.results.follow(job.id) as events:
        await bench.publish(job)
        async with asyncio.timeout(10):
            _, first = await anext(aiter(events))
    assert isinstance(first, Chunk)
    await bench.stores.results.append([Entry(job.id, Failed.of(Cancelled(), 0.0))])
    await asyncio.to_thread(gate.write_text, "go on")
    after = make_job("singer", pieces=1)  # the only model thread is free again
    await bench.do(after)
    assert numbers(await bench.stores.results.events(job.id)) == [0]


async def test_the_last_event_is_read_without_the_others(bench: Bench) -> None:
    await bench.start_runner(singer())
    job = make_job("singer", pieces=3, stream=True)
    await bench.do(job)
    (last,) = await bench.stores.results.events(job.id, -1)
    assert isinstance(last, Done)
    assert len(await bench.stores.results.events(job.id, 2)) == 2
    assert await bench.stores.results.events("no such job", -1) == []


def test_a_piece_that_is_not_kept_any_more_is_no_news() -> None:
    pieces = Pieces()
    assert not pieces.is_news(Chunk(0.0))
    assert pieces.is_news(Chunk(0.0, {"number": 0}))


async def test_what_makes_progress_is_not_stuck(bench: Bench) -> None:
    """Four pieces that take longer together than a batch may take, and shorter each."""

    class Slow(type(singer())):  # type: ignore[misc]
        def process_streamed(self, item: Any, emit: Any) -> Any:
            import time

            def slowly(piece: Any) -> None:
                time.sleep(0.15)  # stands for computing
                emit(piece)

            return super().process_streamed(item, slowly)

    await bench.start_runner(Slow(), process_seconds=0.4)
    assert isinstance(await bench.do(make_job("singer", pieces=4)), Done)
    assert bench.stuck == []


async def test_a_job_whose_time_is_over_stops_at_its_next_piece(bench: Bench, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    await bench.start_runner(singer())
    job = make_job("singer", lasts=0.5, pieces=100, wait_for=str(gate))
    await bench.publish(job)
    await asyncio.sleep(0.6)  # the deadline is a moment of the clock
    await asyncio.to_thread(gate.write_text, "go on")
    event = await bench.final(job.id)
    assert isinstance(event, Failed)
    assert event.code == "deadline_exceeded"
