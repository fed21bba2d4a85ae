"""Frames that are prepared while they wait for their turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict

import pytest

from shared.events import Done, Failed
from shared.jobs import Turn, session_key
from shared.ports import Message
from tests.fakes import TENANT, Bench, make_job, misbehaver, open_bench
from workers.contract import Item
from workers.runtime.policy import Policy

SESSION = session_key(TENANT, "misbehaver", 1, "s")
Kind = type(misbehaver())


class Watched(Kind):  # type: ignore[misc,valid-type]
    """A misbehaver that notes what it prepares and processes; the frame marked ``hold`` waits until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []
        self.inputs: dict[str, int] = {}
        self.begun, self.let_go = threading.Event(), threading.Event()
        self.prepared = threading.Semaphore(0)

    def prepare(self, inputs: Sequence[object]) -> None:
        (given,) = inputs
        self.seen.append(f"prepare {given.mark}")  # type: ignore[attr-defined]
        self.inputs[given.mark] = id(given)  # type: ignore[attr-defined]
        self.prepared.release()
        if given.deed == "raise":  # type: ignore[attr-defined]
            raise RuntimeError("as told")

    def process(self, batch: Sequence[Item]) -> Sequence[object]:  # type: ignore[type-arg]
        for item in batch:
            self.seen.append(f"process {item.input.mark}")
            if item.input.mark == "hold":
                self.begun.set()
                assert self.let_go.wait(10)
            elif item.input.mark in self.inputs:
                assert self.inputs[item.input.mark] == id(item.input)
        return super().process(batch)  # type: ignore[no-any-return]


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with open_bench() as opened:
        yield opened


@pytest.fixture
def service() -> Watched:
    return Watched()


async def publish(bench: Bench, *marks: str, **parameters: str) -> list[str]:
    """Frames of one session with these marks; their jobs."""
    turns = [Turn(SESSION, await bench.stores.sessions.number(SESSION)) for _ in marks]
    return [await bench.publish(make_job(turn=turn, mark=mark, **parameters)) for turn, mark in zip(turns, marks, strict=True)]


async def prepared(service: Watched, count: int) -> None:
    for _ in range(count):
        assert await asyncio.to_thread(service.prepared.acquire, True, 10)


async def test_a_frame_is_prepared_while_the_one_before_it_computes(bench: Bench, service: Watched) -> None:
    await bench.start_runner(service, slots=2)
    jobs = await publish(bench, "hold", "second", "third", "fourth")
    await prepared(service, 1)  # by the free thread, and would never be otherwise: the first frame holds the other
    service.let_go.set()
    events = [await bench.final(job) for job in jobs]
    assert [event.result["count"] for event in events if isinstance(event, Done)] == [1, 2, 3, 4]
    assert service.seen.index("prepare second") < service.seen.index("process second")
    assert [step for step in service.seen if step.startswith("process")] == [
        f"process {mark}" for mark in ("hold", "second", "third", "fourth")
    ]


async def test_the_frames_of_cameras_wait_in_the_worker_that_has_them(bench: Bench, service: Watched) -> None:
    """One that went back to the queue would come last, and all after it would wait for it: nobody would have anything to prepare."""
    policy = Policy.of(bench.settings, slots=2, batch=1, stateful=True)
    runner = await bench.start_runner(service, **asdict(policy))
    jobs = await publish(bench, "hold", *(str(number) for number in range(24)))
    await prepared(service, 1)
    service.let_go.set()
    assert all([isinstance(await bench.final(job), Done) for job in jobs])
    assert runner.tell().taken == len(jobs)


async def test_so_many_are_prepared_and_no_more(bench: Bench, service: Watched) -> None:
    """Decoded pictures are large: as many as there are threads wait for their turn."""
    await bench.start_runner(service, slots=3, prefetch=16, parked=12)
    jobs = await publish(bench, "hold", *(str(number) for number in range(8)))
    await prepared(service, 3)
    assert sorted(service.seen) == ["prepare 0", "prepare 1", "prepare 2", "process hold"]
    service.let_go.set()
    assert all([isinstance(await bench.final(job), Done) for job in jobs])


async def test_one_thread_prepares_nothing_while_it_computes(bench: Bench, service: Watched) -> None:
    await bench.start_runner(service, slots=1)
    jobs = await publish(bench, "hold", "second")
    assert await asyncio.to_thread(service.begun.wait, 10)
    await asyncio.sleep(0.1)  # (that something does not happen has no event)
    assert service.seen == ["process hold"]
    service.let_go.set()
    assert all([isinstance(await bench.final(job), Done) for job in jobs])


async def test_what_cannot_be_prepared_is_answered_in_its_turn(bench: Bench, service: Watched) -> None:
    await bench.start_runner(service, slots=2)
    (first,) = await publish(bench, "hold")
    (raised,) = await publish(bench, "raises", deed="raise")
    await prepared(service, 1)
    (invalid,) = await publish(bench, "invalid", deed="unheard of")
    (last,) = await publish(bench, "last")
    service.let_go.set()
    events = [await bench.final(job) for job in (first, raised, invalid, last)]
    assert [event.code if isinstance(event, Failed) else "done" for event in events] == [
        "done",
        "service_failed",
        "invalid_parameter",
        "done",
    ]
    assert isinstance(events[-1], Done)
    assert events[-1].result["marks"] == ["hold", "last"]


async def test_what_may_have_killed_a_worker_is_not_prepared(bench: Bench, service: Watched) -> None:
    """It would compute without being counted."""
    turns = [Turn(SESSION, await bench.stores.sessions.number(SESSION)) for _ in range(2)]
    suspect, first = make_job(turn=turns[1], mark="suspect"), make_job(turn=turns[0], mark="hold")
    deliveries: asyncio.Queue = asyncio.Queue()  # type: ignore[type-arg]
    consumer = await bench.broker.consume("misbehaver", 1, deliveries.put_nowait)
    await bench.broker.publish(Message("misbehaver", suspect.encode(), suspect.id))
    delivery = await deliveries.get()
    await consumer.stop()
    delivery.reject(requeue=True)
    await bench.publish(first)
    await bench.start_runner(service, slots=2)
    await asyncio.sleep(0.1)  # (that something does not happen has no event)
    service.let_go.set()
    assert isinstance(await bench.final(suspect.id), Done)
    assert service.seen == ["process hold", "process suspect"]
