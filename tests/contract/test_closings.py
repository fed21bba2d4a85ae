"""The end of a session brings its visits, whatever it falls in with on its way through a worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.jobs.background import SessionKeeper
from shared.errors import QueueFull
from shared.events import Done
from shared.jobs import Job, Turn, session_key
from shared.ports import Delivery, Message
from shared.visits import VISITS, decode_visit
from tests.contract import brokers
from tests.contract.benches import OpenBench, bench, open_bench_with
from tests.fakes import IDS, TENANT, Bench, make_job, misbehaver

__all__ = ["bench", "open_bench_with"]

SESSION = session_key(TENANT, "misbehaver", 1, "s")


async def in_view(bench: Bench, mark: str, session: str = SESSION) -> Job:
    """A session in which somebody is in view, and the job that closes it. Needs a runner."""
    turn = Turn(session, await bench.stores.sessions.number(session))
    assert isinstance(await bench.do(make_job(turn=turn, mark=mark)), Done)
    return make_job(turn=Turn(session, await bench.stores.sessions.number(session), closing=True))


async def kept(bench: Bench, count: int) -> set[str]:
    """The ids of so many closed visits that were handed over."""
    arrived: asyncio.Queue[Delivery] = asyncio.Queue()
    consumer = await bench.broker.consume(VISITS, 10, arrived.put_nowait)
    found: set[str] = set()
    async with asyncio.timeout(10):
        while len(found) < count:
            delivery = await arrived.get()
            _, visit = decode_visit(delivery.body)
            if visit.closed:
                found.add(visit.id)
            delivery.ack()
    await consumer.stop()
    return found


@asynccontextmanager
async def looking_after(bench: Bench) -> AsyncIterator[None]:
    """A gateway that closes what falls silent."""
    task = asyncio.create_task(SessionKeeper(bench.settings, bench.broker, bench.stores, IDS).keep_closing(0.01))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_sessions_that_end_in_a_batch_with_other_jobs(bench: Bench) -> None:
    """A thread that is busy meanwhile makes one batch of what waits for it."""
    began, go_on = threading.Event(), threading.Event()

    class Gated(type(misbehaver())):  # type: ignore[misc]
        def process(self, batch: Any) -> Any:
            if batch[0].input.mark == "gate":
                began.set()
                go_on.wait(10)
            return super().process(batch)

    runner = await bench.start_runner(Gated(), slots=1, batch=4)
    closings = [await in_view(bench, mark, session_key(TENANT, "misbehaver", 1, mark)) for mark in ("ann", "ben")]
    await bench.publish(make_job(mark="gate"))
    assert await asyncio.to_thread(began.wait, 10)
    other = make_job(mark="other")
    for job in (*closings, other):
        await bench.publish(job)

    async def all_wait() -> bool:
        return len(runner._dispatcher._pending) == 3

    await brokers.until(all_wait)
    go_on.set()
    answers = [await bench.final(job.id) for job in (*closings, other)]
    assert all(isinstance(answer, Done) for answer in answers), answers
    assert await kept(bench, 2) == {"ann", "ben"}


async def test_a_session_that_ends_while_no_worker_is_there(open_bench_with: OpenBench) -> None:
    """Its closing waits for longer than a job may that somebody waits for."""
    async with open_bench_with(session_seconds=0.2, deadline_seconds=0.1) as bench:
        runner = await bench.start_runner()
        turn = Turn(SESSION, await bench.stores.sessions.number(SESSION))
        assert isinstance(await bench.do(make_job(turn=turn, mark="ann")), Done)
        await runner.stop()
        async with looking_after(bench):

            async def waits() -> bool:
                return (await bench.broker.depth("misbehaver")).ready == 1

            await brokers.until(waits)
            await asyncio.sleep(2 * bench.settings.deadline_seconds)
            await bench.start_runner()
            assert await kept(bench, 1) == {"ann"}


async def test_a_frame_that_takes_long_does_not_end_its_session(open_bench_with: OpenBench) -> None:
    """The machine is busy, and the client waits for one answer before it sends the next frame: whoever is in view is one person."""
    async with open_bench_with(session_seconds=0.5) as bench, looking_after(bench):
        await bench.start_runner()
        for mark, seconds in (("1", 0.0), ("2", 1.5), ("3", 0.0)):
            turn = Turn(SESSION, await bench.stores.sessions.number(SESSION))
            answer = await bench.do(make_job(turn=turn, mark=mark, deed="sleep", seconds=seconds))
            assert isinstance(answer, Done)
        assert answer.result["marks"] == ["1", "2", "3"]


async def test_visits_that_cannot_be_handed_over_for_long(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The recorders are away and their queue is full: the closing waits for them, and is not given up for it."""
    await bench.start_runner(attempts=2)
    closing = await in_view(bench, "ann")
    publish, refused = bench.broker.publish, 0

    async def full_at_first(message: Message) -> None:
        nonlocal refused
        if message.queue == VISITS and refused < 6:
            refused += 1
            raise QueueFull(retry_after=0.01)
        await publish(message)

    monkeypatch.setattr(bench.broker, "publish", full_at_first)
    assert isinstance(await bench.do(closing), Done)
    assert refused == 6
    assert await kept(bench, 1) == {"ann"}
