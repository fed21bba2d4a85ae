"""The facts put together: who told what, what is away, and one computation however many look."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from shared import operations, queue_lines
from shared.adapters.memory.store import open_stores
from shared.errors import BrokerAway, StoreAway
from shared.facts import DeadLetter, Observation, QueueFacts, ServedFacts, WorkerFacts
from shared.jobs import session_key
from shared.metrics import exposition
from shared.operations import Facts, Operations, QueueLine
from shared.ports import Stores
from shared.reopening import NOT_KEPT
from shared.settings import Settings
from tests.fakes import IDS, make_job, open_bench

SERVICES = [("dummy", 1), ("dummy", 2)]


class Broker:
    """Tells what a test says, or is away; counts the questions."""

    def __init__(self, **queues: QueueFacts) -> None:
        self.queues = queues
        self.gap: str | None = None
        self.away = False
        self.asked = 0

    async def observe(self, queues: Sequence[str]) -> Observation:
        self.asked += 1
        await asyncio.sleep(0)
        if self.away:
            raise BrokerAway("the broker is away")
        return Observation({name: facts for name, facts in self.queues.items() if name in queues}, self.gap)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_000_000.0 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    for module in (operations, queue_lines):
        monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
async def stores() -> AsyncIterator[Stores]:
    async with open_stores(Settings(), IDS.shard) as opened:
        yield opened


def watch(broker: Any, stores: Stores, unserved: Callable[[str], float] = lambda _: 0.0) -> Operations:
    return Operations(Settings(), broker, stores, SERVICES, unserved)


def worker(name: str, taken: int = 0, in_hand: int = 0, oldest: float | None = None) -> WorkerFacts:
    served = ServedFacts("dummy", 1, "dummy", taken=taken, in_hand=in_hand, oldest=oldest)
    return WorkerFacts(name, "host", 1, "0", "cpu", 2, 1.0, time.time(), (served,))


def line(facts: Facts, queue: str = "dummy") -> QueueLine:
    assert facts.queues is not None
    return next(line for line in facts.queues if line.name == queue)


async def test_every_queue_is_there_whether_it_exists_or_not(stores: Stores) -> None:
    facts = await watch(Broker(dummy=QueueFacts(3, 1)), stores).facts()
    assert facts.queues is not None
    assert [each.name for each in facts.queues] == ["dummy", "dummy.2", "visits", "dead_letters"]
    assert line(facts, "dummy.2").facts.ready == 0


async def test_what_the_broker_tells_is_believed(stores: Stores) -> None:
    told = QueueFacts(3, 1, unacknowledged=5, published_rate=2.0, delivered_rate=1.0, oldest_seconds=9.0)
    await stores.workers.announce(worker("a", in_hand=1))
    found = line(await watch(Broker(dummy=told), stores).facts())
    assert (found.facts, found.source) == (told, "broker")


async def test_what_the_broker_does_not_tell_the_workers_tell(stores: Stores, clock: Clock) -> None:
    broker = Broker(dummy=QueueFacts(10, 2))
    seen = watch(broker, stores)
    for name, taken, oldest in (("a", 100, clock.time() - 7), ("b", 50, clock.time() - 3)):
        await stores.workers.announce(worker(name, taken, 4, oldest))
    found = line(await seen.facts())
    assert (found.facts.unacknowledged, found.source, found.facts.delivered_rate) == (8, "workers", None)
    assert found.facts.oldest_seconds == pytest.approx(7)
    clock.now += 10
    broker.queues["dummy"] = QueueFacts(30, 2)
    await stores.workers.announce(worker("a", 140, 4))
    await stores.workers.announce(worker("new", 1000, 4))  # how many of these were taken since is not known
    found = line(await seen.facts())
    assert (found.facts.delivered_rate, found.facts.published_rate) == (4.0, 6.0)


async def test_rates_over_a_long_silence_are_none(stores: Stores, clock: Clock) -> None:
    seen = watch(Broker(dummy=QueueFacts(10, 2)), stores)
    await stores.workers.announce(worker("a", 1))
    await seen.facts()
    clock.now += 3600
    assert line(await seen.facts()).facts.delivered_rate is None


async def test_jobs_that_nobody_takes_grow_old_until_their_deadline(stores: Stores) -> None:
    ages = {"dummy": 40.0}
    seen = watch(Broker(dummy=QueueFacts(1, 0)), stores, lambda queue: ages.get(queue, 0.0))
    assert line(await seen.facts()).facts.oldest_seconds == 40
    ages["dummy"] = 10_000.0
    assert line(await watch(Broker(dummy=QueueFacts(1, 0)), stores, lambda _: 10_000.0).facts()).facts.oldest_seconds == 301
    assert line(await watch(Broker(dummy=QueueFacts(0, 0)), stores, lambda _: 10_000.0).facts()).facts.oldest_seconds == 0


async def test_many_who_look_cause_one_computation(stores: Stores, clock: Clock) -> None:
    broker = Broker(dummy=QueueFacts(1, 1))
    seen = watch(broker, stores)
    first = await asyncio.gather(*(seen.facts() for _ in range(50)))
    assert broker.asked == 1
    assert all(facts is first[0] for facts in first)
    clock.now += 1.9
    await seen.facts()
    assert broker.asked == 1
    clock.now += 0.2
    await seen.facts()
    assert broker.asked == 2


async def test_what_was_changed_is_seen_at_once(stores: Stores, clock: Clock) -> None:
    seen = watch(Broker(), stores)
    assert (await seen.facts()).dead_letters == 0
    await stores.letters.keep(DeadLetter("x", "job", "expired", 1.0), None)
    assert (await seen.facts()).dead_letters == 0
    seen.forget()
    assert (await seen.facts()).dead_letters == 1


async def test_what_is_away_is_said_and_the_rest_is_told(stores: Stores) -> None:
    async def away() -> Any:
        raise StoreAway("the store is away")

    broker = Broker()
    broker.away = True
    facts = await watch(broker, stores).facts()
    assert (facts.queues, facts.workers, facts.faults) == (None, (), ("the broker is away",))
    broken = type("Broken", (), {"workers": staticmethod(away)})()
    broker = Broker(dummy=QueueFacts(1, 1))
    facts = await watch(broker, replace(stores, workers=broken)).facts()
    assert (facts.workers, facts.faults, line(facts).facts.unacknowledged) == (None, ("the store is away",), None)


async def test_sessions_and_dead_letters_are_counted(stores: Stores) -> None:
    await stores.sessions.number(session_key("t", "dummy", 1, "s"))
    await stores.letters.keep(DeadLetter("x", "job", "expired", 1.0), None)
    facts = await watch(Broker(), stores).facts()
    assert (facts.sessions, facts.dead_letters) == ({("dummy", 1): 1}, 1)
    assert [(letter.id, obstacle) for letter, obstacle in facts.letters] == [("x", NOT_KEPT)]


def value(name: str) -> float | None:
    found = [text.rpartition(" ")[2] for text in exposition().decode().splitlines() if text.startswith(name)]
    return float(found[0]) if found else None


async def test_the_metrics_carry_the_same_facts(stores: Stores, clock: Clock) -> None:
    broker = Broker(dummy=QueueFacts(10, 2))
    await stores.workers.announce(worker("a", in_hand=3, oldest=clock.time() - 7))
    await stores.sessions.number(session_key("t", "dummy", 1, "s"))
    seen = watch(broker, stores)
    await seen.export()
    names = ("ready", "consumers", "unacknowledged", "oldest_seconds")
    assert [value(f'sensorium_queue_{name}{{queue="dummy"}}') for name in names] == [10, 2, 3, pytest.approx(7)]
    assert value('sensorium_workers{device="cpu",service="dummy"}') == 1
    assert value('sensorium_sessions{service="dummy"}') == 1
    stand_ins = {"yunet": "centerface", "reid": "", "pose": "mesh", "gaze": "mesh"}
    served = ServedFacts("dummy", 1, "dummy", ("centerface", "mesh", "mood"), stand_ins=stand_ins)
    await stores.workers.announce(WorkerFacts("b", "host", 1, "0", "cpu", 1, clock.time(), clock.time(), (served,)))
    clock.now += 10
    await seen.export()
    for model, preferred in (("centerface", "yunet"), ("", "reid"), ("mesh", "pose"), ("mesh", "gaze"), ("mood", "")):
        assert value(f'sensorium_worker_models{{model="{model}",service="dummy",stands_in_for="{preferred}"}}') == 1
    broker.away = True
    clock.now += 10
    await seen.export()
    assert value('sensorium_queue_ready{queue="dummy"}') is None


async def test_a_running_worker_is_seen_at_work() -> None:
    """What a runner counts is what happened."""
    async with open_bench() as bench:
        runner = await bench.start_runner(slots=2, batch=1)
        assert runner.tell().done == 0
        for _ in range(3):
            await bench.do(make_job(deed="sleep", seconds=0.1))
        held = make_job(deed="sleep", seconds=1.0)
        await bench.publish(held)
        async with asyncio.timeout(10):
            while not runner.tell().in_hand:
                await asyncio.sleep(0.005)
        runner.tell()
        begin = time.monotonic()
        while time.monotonic() - begin < 0.2:
            await asyncio.sleep(0.01)
        told = runner.tell()
        assert (told.service, told.queue, told.done, told.taken, told.in_hand, told.batch) == ("misbehaver", "misbehaver", 3, 4, 1, 1)
        assert told.oldest == held.created
        assert told.busy == pytest.approx(0.5, abs=0.15)  # one thread of two
        await bench.final(held.id)
        async with asyncio.timeout(10):
            while runner.tell().in_hand:
                await asyncio.sleep(0.005)
        assert runner.tell().oldest is None
